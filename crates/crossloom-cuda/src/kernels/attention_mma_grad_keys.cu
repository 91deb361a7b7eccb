// Attention backwards to its keys and values by tensor cores: 64 keys of one key head per block, 16 per warp, over tiles of TILE
// queries of every query head that reads them, in order: fewer where heads are so wide that registers would not do. Scores lie
// transposed: a row is a key, a column a query.
// FLOPs: 8 DEPTH + 6 per pair. Bytes: k, v, dk, dv once; do and q once per 64 keys. To be held against the rate of mma.sync.
#define ROOM(lines) ((lines) * TILE_LINE(DEPTH))
#define LOAD_KEYS(to, from) load_tile<64, DEPTH, 128>(to, from + sample * KEYS * line + shared_head * WIDTH, line, k0, KEYS, 0, WIDTH)
#define LOAD_QUERIES(to, from) load_tile<TILE, DEPTH, 128>(to, from + sample * QUERIES * HEADS * WIDTH + head * WIDTH, HEADS * WIDTH, q0, QUERIES, 0, WIDTH)
ENTRY(128) KERNEL(const Bf16* grad, const Bf16* q, const Bf16* k, const Bf16* v, const lse_t* lse, const int* segments,
                  const float* deltas, dk_t* dk, dv_t* dv) {
  DYNAMIC_SHARED(raw);
  Bf16* sk = (Bf16*)raw;
  Bf16* sv = sk + ROOM(64);
  Bf16* sq = sv + ROOM(64);
  Bf16* sg = sq + ROOM(TILE);
  const u32 warp = threadIdx.x / 32, tiles = (KEYS + 63) / 64, group = HEADS / KV_HEADS;
  const u32 k0 = blockIdx.x % tiles * 64, shared_head = blockIdx.x / tiles % KV_HEADS;
  const u64 sample = blockIdx.x / tiles / KV_HEADS, line = KV_HEADS * WIDTH;
  LOAD_KEYS(sk, k);
  LOAD_KEYS(sv, v);
  copy_commit();
  float out_k[DEPTH / 8][4] = {}, out_v[DEPTH / 8][4] = {};
  for (u32 head = shared_head * group; head < (shared_head + 1) * group; head++)
    for (u32 q0 = 0; q0 < QUERIES; q0 += TILE) {
      if (CAUSAL && q0 + TILE - 1 + KEYS - QUERIES < k0) continue;
      __syncthreads();
      LOAD_QUERIES(sq, q);
      LOAD_QUERIES(sg, grad);
      copy_commit();
      copy_wait<0>();
      __syncthreads();
      float weights[TILE / 8][4] = {}, slopes[TILE / 8][4] = {};
      UNROLL for (u32 c = 0; c < DEPTH; c += 16) {
        u32 a[4], values[4], b[4];
        load_a<false, DEPTH>(a, sk, warp * 16, c);
        load_a<false, DEPTH>(values, sv, warp * 16, c);
        UNROLL for (u32 n = 0; n < TILE / 16; n++) {
          load_b<false, DEPTH>(b, sq, 16 * n, c);
          multiply(weights[2 * n], weights[2 * n + 1], a, b);
          load_b<false, DEPTH>(b, sg, 16 * n, c);
          multiply(slopes[2 * n], slopes[2 * n + 1], values, b);
        }
      }
      UNROLL for (u32 n = 0; n < TILE / 8; n++)
        UNROLL for (u32 e = 0; e < 4; e++) {
          const u32 key = k0 + warp * 16 + row_of(e), row = q0 + 8 * n + column_of(e), position = CAUSAL ? row + KEYS - QUERIES : row;
          bool seen = row < QUERIES && key < KEYS && (!CAUSAL || key <= position);
          if (SEGMENTS) seen = seen && may_see(segments + sample * KEYS, position, key);
          const u64 at = (sample * HEADS + head) * QUERIES + row;
          weights[n][e] = seen ? expf(weights[n][e] * SCALE - load_one(lse + at)) : 0.0f;
          slopes[n][e] = seen ? SCALE * weights[n][e] * (slopes[n][e] - deltas[at]) : 0.0f;
        }
      UNROLL for (u32 s = 0; s < TILE / 16; s++) {
        u32 a[4], towards[4], b[4];
        pack_a(a, weights[2 * s], weights[2 * s + 1]);
        pack_a(towards, slopes[2 * s], slopes[2 * s + 1]);
        UNROLL for (u32 n = 0; n < DEPTH / 16; n++) {
          load_b<true, DEPTH>(b, sg, 16 * n, 16 * s);
          multiply(out_v[2 * n], out_v[2 * n + 1], a, b);
          load_b<true, DEPTH>(b, sq, 16 * n, 16 * s);
          multiply(out_k[2 * n], out_k[2 * n + 1], towards, b);
        }
      }
    }
  copy_wait<0>();
  UNROLL for (u32 n = 0; n < DEPTH / 8; n++)
    UNROLL for (u32 e = 0; e < 4; e++) {
      const u32 row = k0 + warp * 16 + row_of(e), c = 8 * n + column_of(e);
      if (row >= KEYS || c >= WIDTH) continue;
      const u64 at = (sample * KEYS + row) * line + shared_head * WIDTH + c;
      store_one(dk + at, out_k[n][e]);
      store_one(dv + at, out_v[n][e]);
    }
}
#undef ROOM
#undef LOAD_KEYS
#undef LOAD_QUERIES
