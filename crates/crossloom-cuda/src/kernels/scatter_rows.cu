// h' = h with rows replaced by, or increased by, those that name them: one warp per row of h looks for its number in the index of its
// sample, 32 slots at a time, and takes what it finds in the order of the slots. No atomics.
// FLOPs: COLS per added row. Bytes: h and the rows are read once, h' written once. Bound by memory. In place over h.
// Numbers below -1 or outside of the sample are reported, and, where rows are replaced, a row that is named twice.
ENTRY(THREADS) KERNEL(const h_t* h, const int* index, const rows_t* rows, y_t* y, u64* fault) {
  const u32 lane = threadIdx.x % 32;
  const u64 row = (u64)blockIdx.x * (THREADS / 32) + threadIdx.x / 32;
  if (row >= (u64)SAMPLES * ROWS) return;
  const u64 sample = row / ROWS;
  const int number = (int)(row % ROWS);
  for (u32 c = lane; c < COLS; c += 32) move_one(y + row * COLS + c, h, row * COLS + c);
  bool named = false;
  for (u64 start = 0; start < SLOTS; start += 32) {
    const u64 slot = sample * SLOTS + start + lane;
    const int at = start + lane < SLOTS ? index[slot] : -1;
    if (number == 0 && (at < -1 || at >= ROWS)) report(fault, slot, at);
    for (u32 hits = ballot(at == number); hits; hits &= hits - 1) {
      const u64 from = sample * SLOTS + start + lowest_bit(hits);
      if (DISTINCT && named && lane == 0) report(fault, from, number);
      named = true;
      for (u32 c = lane; c < COLS; c += 32) {
        y_t* to = y + row * COLS + c;
        if (DISTINCT) move_one(to, rows, from * COLS + c);
        else store_one(to, load_one(to) + load_one(rows + from * COLS + c));
      }
    }
  }
}
