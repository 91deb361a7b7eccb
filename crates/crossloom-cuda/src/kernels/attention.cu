// Attention of 32 queries of one head per block, 8 per warp, over tiles of 32 keys, with a running softmax; no row of scores is ever
// whole. In a tile a lane is first a key (its score), then every 32nd column (its part of the result). With CACHED the keys are those
// of the sequence that `slot` names, the queries stand from `start` on, and only `count` of them are real.
// FLOPs: 4 WIDTH + 5 per pair of query and key. Bytes: q and o once; k and v once per 32 queries. In f32 without tensor cores: to be
// held against the rate of fused multiply-add. Tiles begin at multiples of 32 keys, whatever a query sees, and tiles
// of which it sees nothing change nothing, so that a row has the same bits in every batch.
#define PER_LANE ((WIDTH + 31) / 32)
#define STRIDE (WIDTH + 1)
ENTRY(128) KERNEL(const q_t* q, const k_t* k, const v_t* v, const int* segments, const int* slot, const int* start,
                  const int* count, o_t* o, lse_t* lse, u64* fault) {
  DYNAMIC_SHARED(raw);
  float* sk = (float*)raw;
  float* sv = sk + 32 * STRIDE;
  float* sq = sv + 32 * STRIDE;
  const u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32, tiles = (QUERIES + 31) / 32;
  const u32 q0 = blockIdx.x % tiles * 32, head = blockIdx.x / tiles % HEADS, shared_head = head * KV_HEADS / HEADS;
  const u64 sample = blockIdx.x / tiles / HEADS;
  Place place = {sample, CAUSAL ? KEYS - QUERIES : 0, QUERIES};
  if (CACHED) place = place_of(slot, start, count, sample, SAMPLES, SLOTS, KEYS, QUERIES, fault);
  const u64 keys = place.sequence * KEYS;
  load_head<WIDTH>(sq, q, sample * QUERIES, HEADS, head, q0, QUERIES);
  float sum[8], largest[8], out[8][PER_LANE];
  for (u32 i = 0; i < 8; i++) {
    sum[i] = 0.0f;
    largest[i] = LOWEST;
    for (u32 j = 0; j < PER_LANE; j++) out[i][j] = 0.0f;
  }
  const u32 last = q0 + 31 + place.offset;
  const u32 seen_end = CAUSAL && last + 1 < KEYS ? last + 1 : KEYS, end = q0 < place.count ? seen_end : 0;
  for (u32 k0 = 0; k0 < end; k0 += 32) {
    __syncthreads();
    load_head<WIDTH>(sk, k, keys, KV_HEADS, shared_head, k0, KEYS);
    load_head<WIDTH>(sv, v, keys, KV_HEADS, shared_head, k0, KEYS);
    __syncthreads();
    UNROLL
    for (u32 i = 0; i < 8; i++) {
      const u32 row = warp * 8 + i, key = k0 + lane;
      const u32 position = q0 + row + place.offset;
      bool seen = q0 + row < place.count && key < KEYS && (!CAUSAL || key <= position);
      if (SEGMENTS) seen = seen && may_see(segments + keys, position, key);
      if (!ballot(seen)) continue;
      float score = 0.0f;
      for (u32 c = 0; c < WIDTH; c++) score += sq[row * STRIDE + c] * sk[lane * STRIDE + c];
      score = seen ? score * SCALE : LOWEST;
      const float most = fmaxf(largest[i], team_max<32>(score, 0));
      const float weight = seen ? expf(score - most) : 0.0f, keep = expf(largest[i] - most);
      sum[i] = sum[i] * keep + team_sum<32>(weight, 0);
      largest[i] = most;
      for (u32 j = 0; j < PER_LANE; j++) out[i][j] *= keep;
      for (u32 s = 0; s < 32; s++) {
        const float w = shuffle_from(weight, s);
        // What a weight of nothing meets need not be a number.
        for (u32 j = 0; j < PER_LANE; j++)
          if (lane + 32 * j < WIDTH && w != 0.0f) out[i][j] += w * sv[s * STRIDE + lane + 32 * j];
      }
    }
  }
  for (u32 i = 0; i < 8; i++) {
    const u32 row = q0 + warp * 8 + i;
    if (row >= QUERIES) continue;
    const bool real = row < place.count;
    for (u32 j = 0; j < PER_LANE; j++)
      if (lane + 32 * j < WIDTH)
        store_one(o + (sample * QUERIES + row) * HEADS * WIDTH + head * WIDTH + lane + 32 * j, real ? out[i][j] / sum[i] : 0.0f);
    if (!CACHED && lane == 0) store_one(lse + (sample * HEADS + head) * QUERIES + row, largest[i] + logf(sum[i]));
  }
}
#undef PER_LANE
#undef STRIDE
