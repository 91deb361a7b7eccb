// Attention backwards to its queries, and the products of results and their gradients that its other half needs. Cut as attention.cu.
// FLOPs: 6 WIDTH + 6 per pair. Bytes: do, q, o once, dq once; k and v once per 32 queries. To be held against the rate of
// fused multiply-add. As attention.cu otherwise.
#define PER_LANE ((WIDTH + 31) / 32)
#define STRIDE (WIDTH + 1)
#define KEY_TILE(to, from) load_head<WIDTH>(to, from, sample * KEYS, KV_HEADS, shared_head, k0, KEYS)
#define QUERY_TILE(to, from) load_head<WIDTH>(to, from, sample * QUERIES, HEADS, head, q0, QUERIES)
ENTRY(128) KERNEL(const grad_t* grad, const q_t* q, const k_t* k, const v_t* v, const o_t* o, const lse_t* lse,
                  const int* segments, dq_t* dq, float* deltas) {
  DYNAMIC_SHARED(raw);
  float* sk = (float*)raw;
  float* sv = sk + 32 * STRIDE;
  float* sq = sv + 32 * STRIDE;
  float* sg = sq + 32 * STRIDE;
  const u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32, tiles = (QUERIES + 31) / 32;
  const u32 q0 = blockIdx.x % tiles * 32, head = blockIdx.x / tiles % HEADS, shared_head = head * KV_HEADS / HEADS;
  const u64 sample = blockIdx.x / tiles / HEADS;
  QUERY_TILE(sq, q);
  QUERY_TILE(sg, grad);
  __syncthreads();
  float delta[8], out[8][PER_LANE];
  for (u32 i = 0; i < 8; i++) {
    const u32 row = q0 + warp * 8 + i;
    float product = 0.0f;
    for (u32 j = 0; j < PER_LANE; j++) {
      const u32 c = lane + 32 * j;
      if (row < QUERIES && c < WIDTH)
        product += sg[(warp * 8 + i) * STRIDE + c] * load_one(o + (sample * QUERIES + row) * HEADS * WIDTH + head * WIDTH + c);
      out[i][j] = 0.0f;
    }
    delta[i] = team_sum<32>(product, 0);
    if (row < QUERIES && lane == 0) deltas[(sample * HEADS + head) * QUERIES + row] = delta[i];
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
      float score = 0.0f, towards = 0.0f;
      for (u32 c = 0; c < WIDTH; c++) {
        score += sq[row * STRIDE + c] * sk[lane * STRIDE + c];
        towards += sg[row * STRIDE + c] * sv[lane * STRIDE + c];
      }
      float slope = 0.0f;
      if (seen) {
        const float weight = expf(score * SCALE - load_one(lse + (sample * HEADS + head) * QUERIES + q0 + row));
        slope = SCALE * weight * (towards - delta[i]);
      }
      for (u32 s = 0; s < 32; s++) {
        const float w = shuffle_from(slope, s);
        for (u32 j = 0; j < PER_LANE; j++)
          if (lane + 32 * j < WIDTH) out[i][j] += w * sk[s * STRIDE + lane + 32 * j];
      }
    }
  }
  for (u32 i = 0; i < 8; i++) {
    const u32 row = q0 + warp * 8 + i;
    for (u32 j = 0; j < PER_LANE; j++)
      if (row < QUERIES && lane + 32 * j < WIDTH)
        store_one(dq + (sample * QUERIES + row) * HEADS * WIDTH + head * WIDTH + lane + 32 * j, out[i][j]);
  }
}
#undef PER_LANE
#undef STRIDE
#undef KEY_TILE
#undef QUERY_TILE
