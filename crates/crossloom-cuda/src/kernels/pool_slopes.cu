// From products with the gradient to gradients of the scores, where they lie: FACTOR p (product - sum p product).
// FLOPs: 5 per score. Bytes: 8 in, 4 out per score, from cache. Bound by memory. One team per group and head.
ENTRY(THREADS) KERNEL(const float* probs, float* products) {
  ROW_OF_TEAM((u64)GROUPS * HEADS)
  float sum = 0.0f;
  for (u32 n = lane; n < ROWS; n += TEAM) sum += probs[row * ROWS + n] * products[row * ROWS + n];
  sum = team_sum<TEAM>(sum, room);
  for (u32 n = lane; n < ROWS; n += TEAM)
    products[row * ROWS + n] = FACTOR * probs[row * ROWS + n] * (products[row * ROWS + n] - sum);
}
