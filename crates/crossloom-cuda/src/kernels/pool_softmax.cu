// Softmax of the scores of every group and head, where they lie; rows whose mask is 0 get 0, and so does a group without rows.
// FLOPs: 5 per score. Bytes: 4 in, 4 out per score, from cache. Bound by memory. One team per group and head.
ENTRY(THREADS) KERNEL(const mask_t* mask, float* scores) {
  ROW_OF_TEAM((u64)GROUPS * HEADS)
  const mask_t* kept = mask + row / HEADS * ROWS;
  float* at = scores + row * ROWS;
  float largest = LOWEST;
  for (u32 n = lane; n < ROWS; n += TEAM)
    if (!MASKED || load_one(kept + n) != 0.0f) largest = fmaxf(largest, at[n]);
  largest = team_max<TEAM>(largest, room);
  float sum = 0.0f;
  for (u32 n = lane; n < ROWS; n += TEAM)
    if (!MASKED || load_one(kept + n) != 0.0f) sum += expf(at[n] - largest);
  sum = team_sum<TEAM>(sum, room);
  for (u32 n = lane; n < ROWS; n += TEAM) at[n] = !MASKED || load_one(kept + n) != 0.0f ? expf(at[n] - largest) / sum : 0.0f;
}
