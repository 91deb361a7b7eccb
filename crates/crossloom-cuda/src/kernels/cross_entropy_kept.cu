// The gradient of every kept row's loss: dloss divided by how many rows have a target. One block. FLOPs: 2 per row.
// Bytes: 4 per row. Bound by the latency of one block.
ENTRY(256) KERNEL(const dloss_t* dloss, const int* targets, float* share) {
  DYNAMIC_SHARED(raw);
  float kept = 0.0f;
  for (u64 row = threadIdx.x; row < ROWS; row += 256) kept += targets[row] == -1 ? 0.0f : 1.0f;
  kept = team_sum<256>(kept, (float*)raw);
  if (threadIdx.x == 0) share[0] = load_one(dloss) / fmaxf(kept, 1.0f);
}
