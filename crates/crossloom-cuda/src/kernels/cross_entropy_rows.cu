// Of every row of logits: log-sum-exp, the loss of its target, and whether it has one (-1 is none). One team per row. With GRADIENT also
// the loss backwards: share (exp(logit - lse) - [target]), zero in rows without a target.
// FLOPs: 4 per logit, 7 with the gradient. Bytes: the logits are read twice, three times with the gradient (from cache after the first),
// the gradient is written once. Bound by memory: to be held against the bandwidth of a read, or of a copy.
ENTRY(THREADS) KERNEL(const logits_t* logits, const int* targets, const float* share, lse_t* lse, float* losses,
                      gradient_t* gradient, u64* fault) {
  ROW_OF_TEAM(ROWS)
  const logits_t* from = logits + row * COLS;
  float largest = LOWEST;
  EACH_PIECE(c) {
    const Numbers<WIDE> value = load<WIDE>(from + c);
    EACH(j) largest = fmaxf(largest, value.at[j]);
  }
  largest = team_max<TEAM>(largest, room);
  float sum = 0.0f;
  EACH_PIECE(c) {
    const Numbers<WIDE> value = load<WIDE>(from + c);
    EACH(j) sum += expf(value.at[j] - largest);
  }
  // Read before the team meets: the gradient may lie over the logits.
  const int target = targets[FIRST + row];
  const bool known = target >= 0 && target < COLS;
  const float of_target = known ? load_one(from + target) : 0.0f;
  const float all = largest + logf(team_sum<TEAM>(sum, room));
  if (lane == 0) {
    if (!known && target != -1) report(fault, FIRST + row, target);
    if (!GRADIENT) store_one(lse + row, all);
    losses[FIRST + row] = known ? all - of_target : 0.0f;
  }
  if (!GRADIENT) return;
  EACH_PIECE(c) {
    Numbers<WIDE> value = load<WIDE>(from + c);
    EACH(j) {
      const float error = expf(value.at[j] - all) - (target == (int)(c + j) ? 1.0f : 0.0f);
      value.at[j] = target == -1 ? 0.0f : share[0] * error;
    }
    store(gradient + row * COLS + c, value);
  }
}
