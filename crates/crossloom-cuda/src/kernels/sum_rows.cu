// Sums over the rows of each chunk of CHUNK rows: [ROWS, COLS] -> [chunks, COLS], from the first row to the last.
// FLOPs: 1 per element. Bytes: every element is read once. Bound by memory; columns are read side by side.
ENTRY(THREADS) KERNEL(const x_t* x, y_t* y) {
  const u32 column = blockIdx.x * THREADS + threadIdx.x;
  const u64 first = (u64)blockIdx.y * CHUNK, end = first + CHUNK < ROWS ? first + CHUNK : ROWS;
  if (column >= COLS) return;
  float sum = 0.0f;
  for (u64 row = first; row < end; row++) sum += load_one(x + row * COLS + column);
  store_one(y + (u64)blockIdx.y * COLS + column, sum);
}
