// The sum or the largest of every row: [ROWS, COLS] -> [ROWS], one team per row.
// FLOPs: 1 per element. Bytes: every element is read once. Bound by memory.
ENTRY(THREADS) KERNEL(const float* x, float* y) {
  DYNAMIC_SHARED(raw);
  const u32 lane = threadIdx.x % TEAM;
  const u64 row = (u64)blockIdx.x * (THREADS / TEAM) + threadIdx.x / TEAM;
  if (row >= ROWS) return;
  float result = START;
  for (u64 c = lane; c < COLS; c += TEAM) result = COMBINE(result, x[row * COLS + c]);
  result = TEAM_COMBINE<TEAM>(result, (float*)raw);
  if (lane == 0) y[row] = result;
}
