// Softmax of rows. FLOPs: 5 per element. Bytes: x is read three times (twice from cache), y written once. Bound by memory: to be held
// against the bandwidth of a copy.
// In place: an element is read for the last time by the thread that writes it, after the team has met for the sum.
ENTRY(THREADS) KERNEL(const x_t* x, y_t* y) {
  ROW_OF_TEAM(ROWS)
  const u64 start = row * COLS;
  float largest = LOWEST;
  EACH_PIECE(c) {
    const Numbers<WIDE> value = load<WIDE>(x + start + c);
    EACH(j) largest = fmaxf(largest, value.at[j]);
  }
  largest = team_max<TEAM>(largest, room);
  float sum = 0.0f;
  EACH_PIECE(c) {
    const Numbers<WIDE> value = load<WIDE>(x + start + c);
    EACH(j) sum += expf(value.at[j] - largest);
  }
  sum = team_sum<TEAM>(sum, room);
  EACH_PIECE(c) {
    Numbers<WIDE> value = load<WIDE>(x + start + c);
    EACH(j) value.at[j] = expf(value.at[j] - largest) / sum;
    store(y + start + c, value);
  }
}
