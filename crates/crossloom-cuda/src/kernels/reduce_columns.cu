// The sum or the largest of every row: [ROWS, COLS] -> [ROWS], one team per row.
// FLOPs: 1 per element. Bytes: every element is read once. Bound by memory.
ENTRY(THREADS) KERNEL(const x_t* x, y_t* y) {
  ROW_OF_TEAM(ROWS)
  float result = START;
  for (u64 c = lane; c < COLS; c += TEAM) result = COMBINE(result, load_one(x + row * COLS + c));
  result = TEAM_COMBINE<TEAM>(result, room);
  if (lane == 0) store_one(y + row, result);
}
