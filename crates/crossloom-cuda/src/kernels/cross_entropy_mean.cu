// The mean loss of the rows that have a target, by one block. FLOPs: 1 per row. Bytes: 8 per row. Bound by the
// latency of one block.
ENTRY(256) KERNEL(const float* losses, const int* targets, loss_t* loss) {
  DYNAMIC_SHARED(raw);
  float* room = (float*)raw;
  float sum = 0.0f, kept = 0.0f;
  for (u64 row = threadIdx.x; row < ROWS; row += 256) {
    sum += losses[row];
    kept += targets[row] == -1 ? 0.0f : 1.0f;
  }
  sum = team_sum<256>(sum, room);
  kept = team_sum<256>(kept, room);
  if (threadIdx.x == 0) store_one(loss, sum / fmaxf(kept, 1.0f));
}
