// Attention backwards to its queries by tensor cores, and the products of results and their gradients that its other half needs: 64 queries
// of one head per block, 16 per warp, over tiles of TILE keys, fewer where heads are so wide that registers would not do. DEPTH as in
// attention_mma.cu.
// FLOPs: 6 DEPTH + 6 per pair. Bytes: do, q, o once, dq once; k and v once per 64 queries. To be held against the rate of mma.sync.
#define ROOM(lines) ((lines) * TILE_LINE(DEPTH))
#define LOAD_KEYS(to, from, k0) load_tile<TILE, DEPTH, 128>(to, from + sample * KEYS * line + shared_head * WIDTH, line, k0, KEYS, 0, WIDTH)
#define LOAD_QUERIES(to, from) load_tile<64, DEPTH, 128>(to, from + sample * QUERIES * HEADS * WIDTH + head * WIDTH, HEADS * WIDTH, q0, QUERIES, 0, WIDTH)
ENTRY(128) KERNEL(const Bf16* grad, const Bf16* q, const Bf16* k, const Bf16* v, const o_t* o, const lse_t* lse,
                  const int* segments, dq_t* dq, float* deltas) {
  DYNAMIC_SHARED(raw);
  Bf16* sq = (Bf16*)raw;
  Bf16* sg = sq + ROOM(64);
  Bf16* sk = sg + ROOM(64);
  Bf16* sv = sk + ROOM(TILE);
  const u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32, tiles = (QUERIES + 63) / 64;
  const u32 q0 = blockIdx.x % tiles * 64, head = blockIdx.x / tiles % HEADS, shared_head = head * KV_HEADS / HEADS;
  const u64 sample = blockIdx.x / tiles / HEADS, line = KV_HEADS * WIDTH, statistics = (sample * HEADS + head) * QUERIES;
  LOAD_QUERIES(sq, q);
  LOAD_QUERIES(sg, grad);
  copy_commit();
  copy_wait<0>();
  __syncthreads();
  float delta[2] = {};
  UNROLL for (u32 i = 0; i < 16; i++) {
    const u32 row = q0 + warp * 16 + i;
    float product = 0.0f;
    for (u32 c = lane; c < WIDTH && row < QUERIES; c += 32)
      product += load_one(sg + (warp * 16 + i) * TILE_LINE(DEPTH) + c) * load_one(o + (sample * QUERIES + row) * HEADS * WIDTH + head * WIDTH + c);
    product = team_sum<32>(product, 0);
    if (row < QUERIES && lane == 0) deltas[statistics + row] = product;
    if (row_of(0) == i) delta[0] = product;
    if (row_of(2) == i) delta[1] = product;
  }
  float out[DEPTH / 8][4] = {};
  const u32 last = q0 + 63 + KEYS - QUERIES;
  const u32 end = CAUSAL && last + 1 < KEYS ? last + 1 : KEYS;
  for (u32 k0 = 0; k0 < end; k0 += TILE) {
    __syncthreads();
    LOAD_KEYS(sk, k, k0);
    LOAD_KEYS(sv, v, k0);
    copy_commit();
    copy_wait<0>();
    __syncthreads();
    float scores[TILE / 8][4] = {}, towards[TILE / 8][4] = {};
    UNROLL for (u32 c = 0; c < DEPTH; c += 16) {
      u32 a[4], g[4], b[4];
      load_a<false, DEPTH>(a, sq, warp * 16, c);
      load_a<false, DEPTH>(g, sg, warp * 16, c);
      UNROLL for (u32 n = 0; n < TILE / 16; n++) {
        load_b<false, DEPTH>(b, sk, 16 * n, c);
        multiply(scores[2 * n], scores[2 * n + 1], a, b);
        load_b<false, DEPTH>(b, sv, 16 * n, c);
        multiply(towards[2 * n], towards[2 * n + 1], g, b);
      }
    }
    UNROLL for (u32 e = 0; e < 4; e++) {
      const u32 row = q0 + warp * 16 + row_of(e), position = CAUSAL ? row + KEYS - QUERIES : row;
      const float all = row < QUERIES ? load_one(lse + statistics + row) : 0.0f;
      UNROLL for (u32 n = 0; n < TILE / 8; n++) {
        const u32 key = k0 + 8 * n + column_of(e);
        bool seen = row < QUERIES && key < KEYS && (!CAUSAL || key <= position);
        if (SEGMENTS) seen = seen && may_see(segments + sample * KEYS, position, key);
        scores[n][e] = seen ? SCALE * expf(scores[n][e] * SCALE - all) * (towards[n][e] - delta[e / 2]) : 0.0f;
      }
    }
    UNROLL for (u32 s = 0; s < TILE / 16; s++) {
      u32 a[4], b[4];
      pack_a(a, scores[2 * s], scores[2 * s + 1]);
      UNROLL for (u32 n = 0; n < DEPTH / 16; n++) {
        load_b<true, DEPTH>(b, sk, 16 * n, 16 * s);
        multiply(out[2 * n], out[2 * n + 1], a, b);
      }
    }
  }
  UNROLL for (u32 n = 0; n < DEPTH / 8; n++)
    UNROLL for (u32 e = 0; e < 4; e++) {
      const u32 row = q0 + warp * 16 + row_of(e), c = 8 * n + column_of(e);
      if (row < QUERIES && c < WIDTH) store_one(dq + (sample * QUERIES + row) * HEADS * WIDTH + head * WIDTH + c, out[n][e]);
    }
}
#undef ROOM
#undef LOAD_KEYS
#undef LOAD_QUERIES
