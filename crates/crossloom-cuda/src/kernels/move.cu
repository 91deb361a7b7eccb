// Elements to other places: result `at` is operand START + sum of coordinates times strides, or zero where a coordinate is not
// within what PAD leaves. Words of 4 bytes of any type, one per thread. FLOPs: none. Bytes: 4 in, 4 out; a transposition reads
// at a stride, so it stays below the bandwidth of a copy.
ENTRY(THREADS) KERNEL(const u32* x, u32* y) {
  u64 rest = (u64)blockIdx.x * THREADS + threadIdx.x;
  if (rest >= ELEMENTS) return;
  const u64 at = rest;
  u64 from = START, to = TARGET;
  bool inside = true;
  COORDINATES
  y[PLACED ? to : at] = inside ? x[from] : 0;
}
