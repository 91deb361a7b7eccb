// RMS norm backwards to its rows: dx = rstd (slope - n mean(slope n)) + ds, with slope = dy gamma and n = x rstd.
// FLOPs: 10 per element. Bytes: dy and x are read twice (the second time from cache), dx is written, with RESIDUAL ds read too. Bound
// by memory. In place over ds: the thread that reads an element writes it.
ENTRY(THREADS) KERNEL(const float* dy, const float* x, const float* gamma, const float* rstd, const float* ds, float* dx) {
  ROW_OF_TEAM(ROWS)
  const u64 start = row * COLS;
  const float scale = rstd[row];
  float sum = 0.0f;
  for (u32 c = lane; c < COLS; c += TEAM) sum += dy[start + c] * gamma[c] * (x[start + c] * scale);
  const float mean = team_sum<TEAM>(sum, room) / COLS;
  for (u32 c = lane; c < COLS; c += TEAM) {
    float value = scale * (dy[start + c] * gamma[c] - x[start + c] * scale * mean);
    if (RESIDUAL) value += ds[start + c];
    dx[start + c] = value;
  }
}
