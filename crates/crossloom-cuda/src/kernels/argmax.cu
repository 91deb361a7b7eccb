// The coordinate of the largest element of every row, the first of equal ones; what is no number is larger than nothing, but a
// row that begins with it keeps it. One warp per row. FLOPs: 1 per element. Bytes: every element is read once.
// Bound by memory.
ENTRY(THREADS) KERNEL(const x_t* x, int* y) {
  const u32 lane = threadIdx.x % 32;
  const u64 row = (u64)blockIdx.x * (THREADS / 32) + threadIdx.x / 32;
  if (row >= ROWS) return;
  const x_t* from = x + row * COLS;
  const float first = load_one(from);
  // Lanes without an element have nothing to offer.
  float best = LOWEST;
  u32 place = COLS;
  for (u32 c = lane; c < COLS; c += 32) {
    const float value = load_one(from + c);
    if (value > best || (place == COLS && value == best)) {
      best = value;
      place = c;
    }
  }
  for (u32 mask = 16; mask; mask /= 2) {
    const float other = shuffle_xor(best, mask);
    const u32 where = shuffle_xor(place, mask);
    if (other > best || (other == best && where < place)) {
      best = other;
      place = where;
    }
  }
  if (lane == 0) y[row] = first != first || place == COLS ? 0 : (int)place;
}
