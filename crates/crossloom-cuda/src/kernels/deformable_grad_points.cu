// Points of grids backwards to their places and weights: one warp per point. At a cell's centre the slope is that of the places behind.
// FLOPs: 8 WIDTH + 40 per point. Bytes: four cells' rows and the query's gradient per point, mostly from cache. Bound by memory.
TABLE(u32, KERNEL_sides) = {SIDES};
TABLE(u32, KERNEL_firsts) = {FIRSTS};
ENTRY(THREADS) KERNEL(const grad_t* grad, const values_t* values, const locations_t* locations, const weights_t* weights,
                      dlocations_t* dlocations, dweights_t* dweights) {
  const u32 lane = threadIdx.x % 32;
  const u64 at = (u64)blockIdx.x * (THREADS / 32) + threadIdx.x / 32;
  if (at >= (u64)SAMPLES * QUERIES * HEADS * LEVELS * POINTS) return;
  const u32 level = at / POINTS % LEVELS;
  const u64 row = at / POINTS / LEVELS, sample = row / HEADS / QUERIES;
  const u32 head = row % HEADS;
  const Corners corners = corners_of(load_one(locations + 2 * at), load_one(locations + 2 * at + 1), KERNEL_sides[level]);
  float of_weight = 0.0f, of_x = 0.0f, of_y = 0.0f;
  for (u32 i = 0; i < 4; i++) {
    float product = 0.0f;
    if (corners.cell[i] >= 0) {
      const values_t* cell = values + ((sample * CELLS + KERNEL_firsts[level] + corners.cell[i]) * HEADS + head) * WIDTH;
      for (u32 c = lane; c < WIDTH; c += 32) product += load_one(grad + row * WIDTH + c) * load_one(cell + c);
    }
    product = team_sum<32>(product, 0);
    of_weight += corners.share[i] * product;
    of_x += corners.slope_x[i] * product;
    of_y += corners.slope_y[i] * product;
  }
  if (lane != 0) return;
  const float weight = load_one(weights + at);
  store_one(dweights + at, of_weight);
  store_one(dlocations + 2 * at, weight * of_x);
  store_one(dlocations + 2 * at + 1, weight * of_y);
}
