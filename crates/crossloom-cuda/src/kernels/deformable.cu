// Points of square grids, read between the centres of four cells, weighted and summed: one warp per query and head, points in order.
// FLOPs: 8 WIDTH + 16 per point. Bytes: four cells' rows per point, mostly from cache; places, weights and the result once. Bound by memory.
TABLE(u32, KERNEL_sides) = {SIDES};
TABLE(u32, KERNEL_firsts) = {FIRSTS};
ENTRY(THREADS) KERNEL(const values_t* values, const locations_t* locations, const weights_t* weights, o_t* o) {
  const u32 lane = threadIdx.x % 32;
  const u64 row = (u64)blockIdx.x * (THREADS / 32) + threadIdx.x / 32;
  if (row >= (u64)SAMPLES * QUERIES * HEADS) return;
  const u32 head = row % HEADS;
  const u64 sample = row / HEADS / QUERIES;
  for (u32 c = lane; c < WIDTH; c += 32) {
    float sum = 0.0f;
    for (u32 p = 0; p < LEVELS * POINTS; p++) {
      const u64 at = row * LEVELS * POINTS + p;
      const u32 side = KERNEL_sides[p / POINTS];
      const Corners corners = corners_of(load_one(locations + 2 * at), load_one(locations + 2 * at + 1), side);
      const values_t* grid = values + ((sample * CELLS + KERNEL_firsts[p / POINTS]) * HEADS + head) * WIDTH + c;
      float read = 0.0f;
      for (u32 i = 0; i < 4; i++)
        if (corners.share[i] != corners.share[i] || corners.cell[i] >= 0)
          read += corners.share[i] * (corners.cell[i] >= 0 ? load_one(grid + (u64)corners.cell[i] * HEADS * WIDTH) : 0.0f);
      sum += load_one(weights + at) * read;
    }
    store_one(o + row * WIDTH + c, sum);
  }
}
