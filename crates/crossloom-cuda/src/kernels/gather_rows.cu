// y[b, m] = h[b, index[b, m]], zeros for -1; one warp per row. Other numbers outside of the sample are reported.
// FLOPs: none. Bytes: a row in, a row out. Bound by memory.
ENTRY(THREADS) KERNEL(const h_t* h, const int* index, y_t* y, u64* fault) {
  const u32 lane = threadIdx.x % 32;
  const u64 slot = (u64)blockIdx.x * (THREADS / 32) + threadIdx.x / 32;
  if (slot >= (u64)SAMPLES * SLOTS) return;
  const int row = index[slot];
  if (row < -1 || row >= ROWS) {
    if (lane == 0) report(fault, slot, row);
    return;
  }
  const u64 from = (slot / SLOTS * ROWS + row) * COLS;
  for (u32 c = lane; c < COLS; c += 32) {
    if (row < 0) y[slot * COLS + c] = y_t{};
    else move_one(y + slot * COLS + c, h, from + c);
  }
}
