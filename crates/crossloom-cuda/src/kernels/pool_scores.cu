// scores[g, h, n] = FACTOR x[g, n] . w[h], or of w[g, h] with GROUPED: one warp per row of x, for all heads.
// FLOPs: 2 WIDTH per group, head and row. Bytes: x once from memory, then from cache for every head. Bound by memory with few heads.
ENTRY(THREADS) KERNEL(const x_t* x, const w_t* w, float* scores) {
  const u32 lane = threadIdx.x % 32;
  const u64 row = (u64)blockIdx.x * (THREADS / 32) + threadIdx.x / 32;
  if (row >= (u64)GROUPS * ROWS) return;
  const u64 group = row / ROWS;
  for (u32 head = 0; head < HEADS; head++) {
    const w_t* with = w + (GROUPED ? group * HEADS + head : head) * WIDTH;
    float sum = 0.0f;
    for (u32 c = lane * WIDE; c < WIDTH; c += 32 * WIDE) {
      const Numbers<WIDE> value = load<WIDE>(x + row * WIDTH + c), query = load<WIDE>(with + c);
      EACH(j) sum += value.at[j] * query.at[j];
    }
    sum = team_sum<32>(sum, 0);
    if (lane == 0) scores[(group * HEADS + head) * ROWS + row % ROWS] = FACTOR * sum;
  }
}
