// The rows of every id, summed in their order: one warp per row of the table looks through all ids, 32 at a time.
// FLOPs: COLS per id. Bytes: dy is read once, the table written once, the ids VOCABULARY times from cache. Bound by memory.
// No atomics. An id outside of the table is reported by the first row's warp.
ENTRY(THREADS) KERNEL(const dy_t* dy, const int* ids, float* table, u64* fault) {
  const u32 lane = threadIdx.x % 32;
  const u64 row = (u64)blockIdx.x * (THREADS / 32) + threadIdx.x / 32;
  if (row >= VOCABULARY) return;
  for (u32 c = lane; c < COLS; c += 32) table[row * COLS + c] = 0.0f;
  for (u64 start = 0; start < COUNT; start += 32) {
    const int id = start + lane < COUNT ? ids[start + lane] : -1;
    if (row == 0 && start + lane < COUNT && (id < 0 || id >= VOCABULARY)) report(fault, start + lane, id);
    for (u32 hits = ballot(id == (int)row); hits; hits &= hits - 1) {
      const u64 from = (start + lowest_bit(hits)) * COLS;
      for (u32 c = lane; c < COLS; c += 32) table[row * COLS + c] += load_one(dy + from + c);
    }
  }
}
