// Elements to other places: result `at` is operand START + sum of coordinates times strides, or zero where a coordinate is not
// within what PAD leaves. Elements of any type, one per thread. FLOPs: none. Bytes: an element in, one out; a transposition reads
// at a stride. Bound by memory: to be held against the bandwidth of a copy, which a transposition does not reach.
ENTRY(THREADS) KERNEL(const x_t* x, y_t* y) {
  // What is in its place already.
  if ((u64)x == (u64)y) return;
  u64 rest = (u64)blockIdx.x * THREADS + threadIdx.x;
  if (rest >= ELEMENTS) return;
  const u64 at = rest;
  u64 from = START, to = TARGET;
  bool inside = true;
  COORDINATES
  y[PLACED ? to : at] = inside ? x[from] : y_t{};
}
