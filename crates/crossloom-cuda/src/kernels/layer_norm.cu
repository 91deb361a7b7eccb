// Layer norm of rows, alone or of a sum that it also writes: y = (x - mean) rstd gamma + beta.
// FLOPs: 8 per element, 9 with the sum. Bytes: x is read three times (twice from cache), y written once, with ADD another operand
// and another result. Bound by memory: to be held against the bandwidth of a copy. In place as in rms_norm.cu.
ENTRY(THREADS) KERNEL(const float* x, const float* r, const float* gamma, const float* beta, float* s, float* y, float* mean,
                      float* rstd) {
  ROW_OF_TEAM(ROWS)
  const u64 start = row * COLS;
  float sum = 0.0f;
  for (u32 c = lane; c < COLS; c += TEAM) {
    float v = x[start + c];
    if (ADD) {
      v += r[start + c];
      s[start + c] = v;
    }
    sum += v;
  }
  const float middle = team_sum<TEAM>(sum, room) / COLS;
  const float* from = ADD ? s : x;
  float squares = 0.0f;
  for (u32 c = lane; c < COLS; c += TEAM) {
    const float away = from[start + c] - middle;
    squares += away * away;
  }
  const float scale = 1.0f / sqrtf(team_sum<TEAM>(squares, room) / COLS + EPS);
  for (u32 c = lane; c < COLS; c += TEAM) y[start + c] = (from[start + c] - middle) * scale * gamma[c] + beta[c];
  if (lane == 0) {
    mean[row] = middle;
    rstd[row] = scale;
  }
}
