// The sum or the largest of the middle axis: [OUTER, EXTENT, INNER] -> [OUTER, INNER], one thread per result, in order.
// FLOPs: 1 per element. Bytes: every element is read once; with INNER of a warp and more, neighbours are read side by side.
// Bound by memory.
ENTRY(THREADS) KERNEL(const x_t* x, y_t* y) {
  const u64 at = (u64)blockIdx.x * THREADS + threadIdx.x;
  if (at >= (u64)OUTER * INNER) return;
  const x_t* from = x + at / INNER * EXTENT * INNER + at % INNER;
  float result = START;
  for (u64 i = 0; i < EXTENT; i++) result = COMBINE(result, load_one(from + i * INNER));
  store_one(y + at, result);
}
