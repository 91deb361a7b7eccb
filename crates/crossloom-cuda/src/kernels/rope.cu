// Pairs of columns (i, i + HALF) of every head, turned by position times the pair's frequency, the other way with a negative
// DIRECTION. The angle is taken modulo a turn in f64, sine and cosine in f32.
// FLOPs: 6 per pair beside sine and cosine. Bytes: x is read and y written once. Bound by memory.
TABLE(double, KERNEL_frequency) = {FREQUENCIES};
TABLE(u32, KERNEL_axis) = {AXES};
ENTRY(THREADS) KERNEL(const float* x, const int* positions, float* y) {
  const u64 at = (u64)blockIdx.x * THREADS + threadIdx.x;
  if (at >= (u64)ROWS * HEADS * HALF) return;
  const u32 pair = at % HALF;
  const u64 row = at / (HEADS * HALF), start = at / HALF * 2 * HALF + pair;
  const double turn = 6.283185307179586;
  const double angle = (double)positions[row * NUMBERS + KERNEL_axis[pair]] * KERNEL_frequency[pair];
  const float rest = (float)(angle - turn * rint(angle / turn)) * DIRECTION;
  const float s = sinf(rest), c = cosf(rest), first = x[start], second = x[start + HALF];
  y[start] = first * c - second * s;
  y[start + HALF] = second * c + first * s;
}
