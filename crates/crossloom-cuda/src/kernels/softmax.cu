// Softmax of rows. FLOPs: 5 per element. Bytes: x is read three times (twice from cache), y written once. Bound by memory.
// In place: an element is read for the last time by the thread that writes it, after the team has met for the sum.
ENTRY(THREADS) KERNEL(const float* x, float* y) {
  ROW_OF_TEAM(ROWS)
  const u64 start = row * COLS;
  float largest = bits_float(0xff800000u);
  for (u32 c = lane; c < COLS; c += TEAM) largest = fmaxf(largest, x[start + c]);
  largest = team_max<TEAM>(largest, room);
  float sum = 0.0f;
  for (u32 c = lane; c < COLS; c += TEAM) sum += expf(x[start + c] - largest);
  sum = team_sum<TEAM>(sum, room);
  for (u32 c = lane; c < COLS; c += TEAM) y[start + c] = expf(x[start + c] - largest) / sum;
}
