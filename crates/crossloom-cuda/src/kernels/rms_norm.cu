// RMS norm of rows, alone or of a sum that it also writes: y = x rstd gamma, rstd = 1 / sqrt(mean x^2 + eps).
// FLOPs: 4 per element, 5 with the sum. Bytes: x is read twice (the second time from cache), y written once, with ADD another
// operand and another result. Bound by memory: to be held against the bandwidth of a copy.
// In place: every thread reads an element before it writes the same one, and nobody else reads it.
ENTRY(THREADS) KERNEL(const float* x, const float* r, const float* gamma, float* s, float* y, float* rstd) {
  ROW_OF_TEAM(ROWS)
  const u64 start = row * COLS;
  float sum = 0.0f;
  for (u32 c = lane; c < COLS; c += TEAM) {
    float v = x[start + c];
    if (ADD) {
      v += r[start + c];
      s[start + c] = v;
    }
    sum += v * v;
  }
  const float scale = 1.0f / sqrtf(team_sum<TEAM>(sum, room) / COLS + EPS);
  const float* from = ADD ? s : x;
  for (u32 c = lane; c < COLS; c += TEAM) y[start + c] = from[start + c] * scale * gamma[c];
  if (lane == 0) rstd[row] = scale;
}
