// y[b, m] = h[b, index[b, m]], zeros for -1; one warp per row. Other numbers outside of the sample are reported.
// FLOPs: none. Bytes: a row in, a row out. Bound by memory.
ENTRY(THREADS) KERNEL(const u32* h, const int* index, u32* y, u64* fault) {
  const u32 lane = threadIdx.x % 32;
  const u64 slot = (u64)blockIdx.x * (THREADS / 32) + threadIdx.x / 32;
  if (slot >= (u64)SAMPLES * SLOTS) return;
  const int row = index[slot];
  if (row < -1 || row >= ROWS) {
    if (lane == 0) report(fault, slot, row);
    return;
  }
  const u64 from = (slot / SLOTS * ROWS + row) * COLS;
  for (u32 c = lane; c < COLS; c += 32) y[slot * COLS + c] = row < 0 ? 0 : h[from + c];
}
