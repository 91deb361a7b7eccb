// RMS norm of rows, alone or of a sum that it also writes: y = x rstd gamma, rstd = 1 / sqrt(mean x^2 + eps).
// FLOPs: 4 per element, 5 with the sum. Bytes: x is read twice (the second time from cache), y written once, with ADD another
// operand and another result. Bound by memory: to be held against the bandwidth of a copy.
// In place: every thread reads an element before it writes the same one, and nobody else reads it.
ENTRY(THREADS) KERNEL(const x_t* x, const r_t* r, const gamma_t* gamma, float* s, y_t* y, float* rstd) {
  ROW_OF_TEAM(ROWS)
  const u64 start = row * COLS;
  float sum = 0.0f;
  EACH_PIECE(c) {
    Numbers<WIDE> value = load<WIDE>(x + start + c);
    if (ADD) {
      const Numbers<WIDE> other = load<WIDE>(r + start + c);
      EACH(j) value.at[j] += other.at[j];
      store(s + start + c, value);
    }
    EACH(j) sum += value.at[j] * value.at[j];
  }
  const float scale = 1.0f / sqrtf(team_sum<TEAM>(sum, room) / COLS + EPS);
  EACH_PIECE(c) {
    Numbers<WIDE> value = ADD ? load<WIDE>(s + start + c) : load<WIDE>(x + start + c);
    const Numbers<WIDE> factor = load<WIDE>(gamma + c);
    EACH(j) value.at[j] = value.at[j] * scale * factor.at[j];
    store(y + start + c, value);
  }
  if (lane == 0) rstd[row] = scale;
}
