// Rows into sequences of a cache, from where each begins: one warp per row, for what is real of it. Where the cache does not stay in its
// place, move.cu has copied it before.
// FLOPs: none. Bytes: a row in, a row out. Bound by memory. A place that does not fit, and a slot that two rows write, are reported.
ENTRY(THREADS) KERNEL(const rows_t* rows, const int* slot, const int* start, const int* count, cache_t* cache, u64* fault) {
  const u32 lane = threadIdx.x % 32;
  const u64 row = (u64)blockIdx.x * (THREADS / 32) + threadIdx.x / 32;
  if (row >= (u64)ROWS * TOKENS) return;
  const u32 sequence = row / TOKENS, step = row % TOKENS;
  const Place place = place_of(slot, start, count, sequence, ROWS, SLOTS, CAPACITY, TOKENS, fault);
  if (step == 0 && lane == 0 && place.count)
    for (u32 other = 0; other < sequence; other++)
      if (slot[other] == slot[sequence] && count[other] > 0) report(fault, sequence, slot[sequence]);
  if (step >= place.count) return;
  const u64 to = (place.sequence * CAPACITY + place.offset + step) * COLS;
  for (u32 c = lane; c < COLS; c += 32) cache[to + c] = rows[row * COLS + c];
}
