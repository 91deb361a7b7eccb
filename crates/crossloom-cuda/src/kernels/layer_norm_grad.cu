// Layer norm backwards to its rows: dx = rstd (slope - mean(slope) - n mean(slope n)) + ds, slope = dy gamma, n = (x - mean) rstd.
// FLOPs: 13 per element. Bytes and places as in rms_norm_grad.cu. Bound by memory.
ENTRY(THREADS) KERNEL(const float* dy, const float* x, const float* gamma, const float* mean, const float* rstd,
                      const float* ds, float* dx) {
  ROW_OF_TEAM(ROWS)
  const u64 start = row * COLS;
  const float middle = mean[row], scale = rstd[row];
  float sum = 0.0f, along = 0.0f;
  for (u32 c = lane; c < COLS; c += TEAM) {
    const float slope = dy[start + c] * gamma[c];
    sum += slope;
    along += slope * ((x[start + c] - middle) * scale);
  }
  sum = team_sum<TEAM>(sum, room) / COLS;
  along = team_sum<TEAM>(along, room) / COLS;
  for (u32 c = lane; c < COLS; c += TEAM) {
    float value = scale * (dy[start + c] * gamma[c] - sum - (x[start + c] - middle) * scale * along);
    if (RESIDUAL) value += ds[start + c];
    dx[start + c] = value;
  }
}
