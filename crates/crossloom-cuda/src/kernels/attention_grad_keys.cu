// Attention backwards to its keys and values: 32 keys of one key head per block, 8 per warp, over tiles of 32 queries of every query
// head that reads them, in order. In a tile a lane is first a query (its weight), then every 32nd column (its part of both results).
// FLOPs: 8 WIDTH + 6 per pair. Bytes: k, v, dk, dv once; do and q once per 32 keys. To be held against the rate
// of fused multiply-add. As attention.cu otherwise.
#define PER_LANE ((WIDTH + 31) / 32)
#define STRIDE (WIDTH + 1)
#define KEY_TILE(to, from) load_head<WIDTH>(to, from, sample * KEYS, KV_HEADS, shared_head, k0, KEYS)
#define QUERY_TILE(to, from) load_head<WIDTH>(to, from, sample * QUERIES, HEADS, head, q0, QUERIES)
ENTRY(128) KERNEL(const grad_t* grad, const q_t* q, const k_t* k, const v_t* v, const lse_t* lse, const int* segments,
                  const float* deltas, dk_t* dk, dv_t* dv) {
  DYNAMIC_SHARED(raw);
  float* sk = (float*)raw;
  float* sv = sk + 32 * STRIDE;
  float* sq = sv + 32 * STRIDE;
  float* sg = sq + 32 * STRIDE;
  const u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32, tiles = (KEYS + 31) / 32, group = HEADS / KV_HEADS;
  const u32 k0 = blockIdx.x % tiles * 32, shared_head = blockIdx.x / tiles % KV_HEADS;
  const u64 sample = blockIdx.x / tiles / KV_HEADS;
  KEY_TILE(sk, k);
  KEY_TILE(sv, v);
  float out_k[8][PER_LANE], out_v[8][PER_LANE];
  for (u32 i = 0; i < 8; i++)
    for (u32 j = 0; j < PER_LANE; j++) out_k[i][j] = out_v[i][j] = 0.0f;
  for (u32 head = shared_head * group; head < (shared_head + 1) * group; head++)
    for (u32 q0 = 0; q0 < QUERIES; q0 += 32) {
      if (CAUSAL && q0 + 31 + KEYS - QUERIES < k0) continue;
      __syncthreads();
      QUERY_TILE(sq, q);
      QUERY_TILE(sg, grad);
      __syncthreads();
      UNROLL
      for (u32 i = 0; i < 8; i++) {
        const u32 row = warp * 8 + i, key = k0 + row;
        const u32 position = CAUSAL ? q0 + lane + KEYS - QUERIES : q0 + lane;
        bool seen = q0 + lane < QUERIES && key < KEYS && (!CAUSAL || key <= position);
        if (SEGMENTS) seen = seen && may_see(segments + sample * KEYS, position, key);
        if (!ballot(seen)) continue;
        float score = 0.0f, towards = 0.0f;
        for (u32 c = 0; c < WIDTH; c++) {
          score += sq[lane * STRIDE + c] * sk[row * STRIDE + c];
          towards += sg[lane * STRIDE + c] * sv[row * STRIDE + c];
        }
        float weight = 0.0f, slope = 0.0f;
        if (seen) {
          const u64 at = (sample * HEADS + head) * QUERIES + q0 + lane;
          weight = expf(score * SCALE - load_one(lse + at));
          slope = SCALE * weight * (towards - deltas[at]);
        }
        for (u32 s = 0; s < 32; s++) {
          const float w = shuffle_from(weight, s), d = shuffle_from(slope, s);
          for (u32 j = 0; j < PER_LANE; j++)
            if (lane + 32 * j < WIDTH) {
              out_k[i][j] += d * sq[s * STRIDE + lane + 32 * j];
              out_v[i][j] += w * sg[s * STRIDE + lane + 32 * j];
            }
        }
      }
    }
  for (u32 i = 0; i < 8; i++) {
    const u32 row = k0 + warp * 8 + i;
    for (u32 j = 0; j < PER_LANE; j++)
      if (row < KEYS && lane + 32 * j < WIDTH) {
        const u64 at = (sample * KEYS + row) * KV_HEADS * WIDTH + shared_head * WIDTH + lane + 32 * j;
        store_one(dk + at, out_k[i][j]);
        store_one(dv + at, out_v[i][j]);
      }
  }
}
#undef PER_LANE
#undef STRIDE
#undef KEY_TILE
#undef QUERY_TILE
