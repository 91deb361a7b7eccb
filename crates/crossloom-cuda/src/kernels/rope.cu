// Pairs of columns (i, i + HALF) of every head, turned by position times the pair's frequency, the other way with a negative
// DIRECTION. The angle is taken modulo a turn in f64, sine and cosine in f32, once for EACH_HEADS heads of a row by one thread with WIDE pairs.
// FLOPs: 6 per pair beside sine and cosine. Bytes: x is read and y written once. Bound by memory: to be held against the bandwidth of a copy.
TABLE(double, KERNEL_frequency) = {FREQUENCIES};
TABLE(u32, KERNEL_axis) = {AXES};
ENTRY(THREADS) KERNEL(const x_t* x, const int* positions, y_t* y) {
  const u32 pieces = HALF / WIDE, groups = (HEADS + EACH_HEADS - 1) / EACH_HEADS;
  const u64 at = (u64)blockIdx.x * THREADS + threadIdx.x;
  if (at >= (u64)ROWS * groups * pieces) return;
  const u32 pair = at % pieces * WIDE, first_head = at / pieces % groups * EACH_HEADS;
  const u64 row = at / pieces / groups;
  const double turn = 6.283185307179586;
  Numbers<WIDE> s, c;
  EACH(j) {
    const double angle = (double)positions[row * NUMBERS + KERNEL_axis[pair + j]] * KERNEL_frequency[pair + j];
    const float rest = (float)(angle - turn * rint(angle / turn)) * DIRECTION;
    s.at[j] = sinf(rest);
    c.at[j] = cosf(rest);
  }
  for (u32 head = first_head; head < first_head + EACH_HEADS && head < HEADS; head++) {
    const u64 start = (row * HEADS + head) * 2 * HALF + pair;
    const Numbers<WIDE> first = load<WIDE>(x + start), second = load<WIDE>(x + start + HALF);
    Numbers<WIDE> low, high;
    EACH(j) {
      low.at[j] = first.at[j] * c.at[j] - second.at[j] * s.at[j];
      high.at[j] = second.at[j] * c.at[j] + first.at[j] * s.at[j];
    }
    store(y + start, low);
    store(y + start + HALF, high);
  }
}
