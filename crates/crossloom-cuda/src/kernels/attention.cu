// Attention of 32 queries of one head per block, 8 per warp, over tiles of 32 keys, with a running softmax; no row of scores is ever
// whole. In a tile a lane is first a key (its score), then every 32nd column (its part of the result).
// FLOPs: 4 WIDTH + 5 per pair of query and key. Bytes: q and o once; k and v once per 32 queries. In f32 without tensor cores: to be
// held against the rate of fused multiply-add. Tiles begin at multiples of 32 keys, whatever a query sees, and tiles
// of which it sees nothing change nothing, so that a row has the same bits in every batch.
#define PER_LANE ((WIDTH + 31) / 32)
#define STRIDE (WIDTH + 1)
#define KEY_TILE(to, from) load_tile<WIDTH>(to, from, sample * KEYS, KV_HEADS, shared_head, k0, KEYS)
#define QUERY_TILE(to, from) load_tile<WIDTH>(to, from, sample * QUERIES, HEADS, head, q0, QUERIES)
ENTRY(128) KERNEL(const float* q, const float* k, const float* v, const int* segments, float* o, float* lse) {
  DYNAMIC_SHARED(raw);
  float* sk = (float*)raw;
  float* sv = sk + 32 * STRIDE;
  float* sq = sv + 32 * STRIDE;
  const u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32, tiles = (QUERIES + 31) / 32;
  const u32 q0 = blockIdx.x % tiles * 32, head = blockIdx.x / tiles % HEADS, shared_head = head * KV_HEADS / HEADS;
  const u64 sample = blockIdx.x / tiles / HEADS;
  QUERY_TILE(sq, q);
  float sum[8], largest[8], out[8][PER_LANE];
  for (u32 i = 0; i < 8; i++) {
    sum[i] = 0.0f;
    largest[i] = bits_float(0xff800000u);
    for (u32 j = 0; j < PER_LANE; j++) out[i][j] = 0.0f;
  }
  const u32 last = q0 + 31 + KEYS - QUERIES;
  const u32 end = CAUSAL && last + 1 < KEYS ? last + 1 : KEYS;
  for (u32 k0 = 0; k0 < end; k0 += 32) {
    __syncthreads();
    KEY_TILE(sk, k);
    KEY_TILE(sv, v);
    __syncthreads();
    UNROLL
    for (u32 i = 0; i < 8; i++) {
      const u32 row = warp * 8 + i, key = k0 + lane;
      const u32 position = CAUSAL ? q0 + row + KEYS - QUERIES : q0 + row;
      bool seen = q0 + row < QUERIES && key < KEYS && (!CAUSAL || key <= position);
      if (SEGMENTS) seen = seen && may_see(segments + sample * KEYS, position, key);
      if (!ballot(seen)) continue;
      float score = 0.0f;
      for (u32 c = 0; c < WIDTH; c++) score += sq[row * STRIDE + c] * sk[lane * STRIDE + c];
      score = seen ? score * SCALE : bits_float(0xff800000u);
      const float most = fmaxf(largest[i], team_max<32>(score, 0));
      const float weight = seen ? expf(score - most) : 0.0f, keep = expf(largest[i] - most);
      sum[i] = sum[i] * keep + team_sum<32>(weight, 0);
      largest[i] = most;
      for (u32 j = 0; j < PER_LANE; j++) out[i][j] *= keep;
      for (u32 s = 0; s < 32; s++) {
        const float w = shuffle_from(weight, s);
        for (u32 j = 0; j < PER_LANE; j++)
          if (lane + 32 * j < WIDTH) out[i][j] += w * sv[s * STRIDE + lane + 32 * j];
      }
    }
  }
  for (u32 i = 0; i < 8; i++) {
    const u32 row = q0 + warp * 8 + i;
    if (row >= QUERIES) continue;
    for (u32 j = 0; j < PER_LANE; j++)
      if (lane + 32 * j < WIDTH)
        o[(sample * QUERIES + row) * HEADS * WIDTH + head * WIDTH + lane + 32 * j] = out[i][j] / sum[i];
    if (lane == 0) lse[(sample * HEADS + head) * QUERIES + row] = largest[i] + logf(sum[i]);
  }
}
#undef PER_LANE
#undef STRIDE
#undef KEY_TILE
#undef QUERY_TILE
