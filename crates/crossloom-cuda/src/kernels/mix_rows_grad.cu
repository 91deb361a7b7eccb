// The gradient of every row from the tokens that it is a part of, in their order: one warp per row and tap, and one for the row that all
// taps share, looks through all parts, 32 at a time. No atomics.
// FLOPs: 2 COLS per part with a weight. Bytes: dy is read once per such part, the rows are written once, the parts are read from cache by
// every warp. Bound by memory. A row that is not there is reported by the warp of the shared row.
ENTRY(THREADS) KERNEL(const dy_t* dy, const int* rows, const float* weights, float* features, float* end, u64* fault) {
  const u32 lane = threadIdx.x % 32;
  const u64 row = (u64)blockIdx.x * (THREADS / 32) + threadIdx.x / 32;
  if (row > (u64)TAPS * ROWS) return;
  const bool shared = row == (u64)TAPS * ROWS;
  const int number = shared ? ROWS : (int)(row % ROWS);
  float* const to = shared ? end : features + row * COLS;
  for (u32 c = lane; c < COLS; c += 32) to[c] = 0.0f;
  for (u64 tap = shared ? 0 : row / ROWS; tap < (shared ? TAPS : row / ROWS + 1); tap++) {
    for (u64 start = 0; start < (u64)TOKENS * PARTS; start += 32) {
      const u64 part = start + lane;
      const bool there = part < (u64)TOKENS * PARTS;
      const int named = there ? rows[part] : -1;
      if (shared && tap == 0 && there && (named < 0 || named > ROWS)) report(fault, part, named);
      for (u32 hits = ballot(named == number && weights[part] != 0.0f); hits; hits &= hits - 1) {
        const u64 hit = start + lowest_bit(hits);
        const float weight = weights[hit];
        const u64 from = (tap * TOKENS + hit / PARTS) * COLS;
        for (u32 c = lane; c < COLS; c += 32) to[c] += weight * load_one(dy + from + c);
      }
    }
  }
}
