// Of every row of logits: log-sum-exp, the loss of its target, and whether it has one (-1 is none). One team per row.
// FLOPs: 4 per logit. Bytes: the logits are read twice (the second time from cache). Bound by memory.
ENTRY(THREADS) KERNEL(const float* logits, const int* targets, float* lse, float* losses, u64* fault) {
  ROW_OF_TEAM(ROWS)
  const float* from = logits + row * COLS;
  float largest = bits_float(0xff800000u);
  for (u32 c = lane; c < COLS; c += TEAM) largest = fmaxf(largest, from[c]);
  largest = team_max<TEAM>(largest, room);
  float sum = 0.0f;
  for (u32 c = lane; c < COLS; c += TEAM) sum += expf(from[c] - largest);
  const float all = largest + logf(team_sum<TEAM>(sum, room));
  if (lane != 0) return;
  const int target = targets[row];
  const bool known = target >= 0 && target < COLS;
  if (!known && target != -1) report(fault, row, target);
  lse[row] = all;
  losses[row] = known ? all - from[target] : 0.0f;
}
