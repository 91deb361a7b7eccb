// Elements to other places: result `at` is operand START + sum of coordinates times strides, or zero where a coordinate is not
// within what PAD leaves. Words of 4 or 2 bytes of any type, one per thread. FLOPs: none. Bytes: a word in, a word out; a transposition reads
// at a stride. Bound by memory: to be held against the bandwidth of a copy, which a transposition does not reach.
ENTRY(THREADS) KERNEL(const WORD* x, WORD* y) {
  u64 rest = (u64)blockIdx.x * THREADS + threadIdx.x;
  if (rest >= ELEMENTS) return;
  const u64 at = rest;
  u64 from = START, to = TARGET;
  bool inside = true;
  COORDINATES
  y[PLACED ? to : at] = inside ? x[from] : (WORD)0;
}
