// Points of grids backwards to the cells: one warp per cell and head looks through all points of its grid, 32 at a time, and takes those
// that read it, in order. No atomics.
// FLOPs: 2 WIDTH per point and cell it reads, 16 per point and cell. Bytes: places and weights from cache, gradients of queries that read
// a cell, dvalues once. Bound by the search, which grows with cells times points.
TABLE(u32, KERNEL_sides) = {SIDES};
TABLE(u32, KERNEL_firsts) = {FIRSTS};
ENTRY(THREADS) KERNEL(const grad_t* grad, const locations_t* locations, const weights_t* weights, dvalues_t* dvalues) {
  const u32 lane = threadIdx.x % 32;
  const u64 row = (u64)blockIdx.x * (THREADS / 32) + threadIdx.x / 32;
  if (row >= (u64)SAMPLES * CELLS * HEADS) return;
  const u32 head = row % HEADS, place = row / HEADS % CELLS;
  const u64 sample = row / HEADS / CELLS;
  const u32 level = part_of<LEVELS>(KERNEL_firsts, place);
  const int cell = (int)(place - KERNEL_firsts[level]);
  float sum[(WIDTH + 31) / 32] = {};
  for (u32 start = 0; start < QUERIES * POINTS; start += 32) {
    const u32 p = start + lane;
    float share = 0.0f;
    if (p < QUERIES * POINTS) {
      const u64 at = (((sample * QUERIES + p / POINTS) * HEADS + head) * LEVELS + level) * POINTS + p % POINTS;
      const Corners corners = corners_of(load_one(locations + 2 * at), load_one(locations + 2 * at + 1), KERNEL_sides[level]);
      for (u32 i = 0; i < 4; i++)
        if (corners.cell[i] == cell) share = corners.share[i] * load_one(weights + at);
    }
    for (u32 hits = ballot(share != 0.0f); hits; hits &= hits - 1) {
      const u32 hit = lowest_bit(hits);
      const float factor = shuffle_from(share, hit);
      const u64 query = (sample * QUERIES + (start + hit) / POINTS) * HEADS + head;
      for (u32 j = 0; j < (WIDTH + 31) / 32; j++)
        if (lane + 32 * j < WIDTH) sum[j] += factor * load_one(grad + query * WIDTH + lane + 32 * j);
    }
  }
  for (u32 j = 0; j < (WIDTH + 31) / 32; j++)
    if (lane + 32 * j < WIDTH) store_one(dvalues + row * WIDTH + lane + 32 * j, sum[j]);
}
