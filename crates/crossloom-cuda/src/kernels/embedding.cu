// Rows of a table by id, one warp per row. An id outside of the table is reported, and nothing is written for it.
// FLOPs: none. Bytes: a row in, a row out. Bound by memory.
ENTRY(THREADS) KERNEL(const table_t* table, const int* ids, y_t* y, u64* fault) {
  const u32 lane = threadIdx.x % 32;
  const u64 row = (u64)blockIdx.x * (THREADS / 32) + threadIdx.x / 32;
  if (row >= ROWS) return;
  const int id = ids[row];
  if (id < 0 || id >= VOCABULARY) {
    if (lane == 0) report(fault, row, id);
    return;
  }
  for (u32 c = lane; c < COLS; c += 32) move_one(y + row * COLS + c, table, (u64)id * COLS + c);
}
