// Attention of 64 queries of one head per block, 16 per warp, over tiles of 64 keys, by tensor cores, with a running softmax in f32 whose
// weights are rounded to bf16 before they meet the values. DEPTH is WIDTH up to a multiple of 16, with zeros. Copies of the next keys are
// under way while weights meet values. CACHED as in attention.cu.
// FLOPs: 4 DEPTH + 5 per pair of query and key. Bytes: q and o once; k and v once per 64 queries. To be held against the rate of
// mma.sync. A row has the same bits in every batch, as in attention.cu.
#define ROOM (64 * TILE_LINE(DEPTH))
#define LOAD_KEYS(to, from, k0) load_tile<64, DEPTH, 128>(to, from + keys * line + shared_head * WIDTH, line, k0, filled, 0, WIDTH)
ENTRY(128) KERNEL(const Bf16* q, const Bf16* k, const Bf16* v, const int* segments, const int* slot, const int* start,
                  const int* count, o_t* o, lse_t* lse, u64* fault) {
  DYNAMIC_SHARED(raw);
  Bf16* sq = (Bf16*)raw;
  Bf16* sk = sq + ROOM;
  Bf16* sv = sk + ROOM;
  const u32 warp = threadIdx.x / 32, tiles = (QUERIES + 63) / 64;
  const u32 q0 = blockIdx.x % tiles * 64, head = blockIdx.x / tiles % HEADS, shared_head = head * KV_HEADS / HEADS;
  const u64 sample = blockIdx.x / tiles / HEADS, line = KV_HEADS * WIDTH;
  Place place = {sample, CAUSAL ? KEYS - QUERIES : 0, QUERIES};
  if (CACHED) place = place_of(slot, start, count, sample, SAMPLES, SLOTS, KEYS, QUERIES, fault);
  // What lies in a cache behind the positions that were written need not be numbers.
  const u32 filled = CACHED ? place.offset + place.count : KEYS;
  const u64 keys = place.sequence * KEYS;
  const u32 last = q0 + 63 + place.offset;
  const u32 seen_end = CAUSAL && last + 1 < KEYS ? last + 1 : KEYS, end = q0 < place.count ? seen_end : 0;
  load_tile<64, DEPTH, 128>(sq, q + sample * QUERIES * HEADS * WIDTH + head * WIDTH, HEADS * WIDTH, q0, QUERIES, 0, WIDTH);
  LOAD_KEYS(sk, k, 0);
  copy_commit();
  float out[DEPTH / 8][4] = {}, sum[2] = {}, largest[2] = {LOWEST, LOWEST};
  for (u32 k0 = 0; k0 < end; k0 += 64) {
    LOAD_KEYS(sv, v, k0);
    copy_commit();
    copy_wait<1>();
    __syncthreads();
    float scores[8][4] = {};
    UNROLL for (u32 c = 0; c < DEPTH; c += 16) {
      u32 a[4], b[4];
      load_a<false, DEPTH>(a, sq, warp * 16, c);
      UNROLL for (u32 n = 0; n < 4; n++) {
        load_b<false, DEPTH>(b, sk, 16 * n, c);
        multiply(scores[2 * n], scores[2 * n + 1], a, b);
      }
    }
    __syncthreads();
    if (k0 + 64 < end) LOAD_KEYS(sk, k, k0 + 64);
    copy_commit();
    UNROLL for (u32 half = 0; half < 2; half++) {
      const u32 row = q0 + warp * 16 + row_of(2 * half), position = row + place.offset;
      float most = LOWEST;
      UNROLL for (u32 n = 0; n < 8; n++)
        UNROLL for (u32 e = 2 * half; e < 2 * half + 2; e++) {
          const u32 key = k0 + 8 * n + column_of(e);
          bool seen = row < place.count && key < KEYS && (!CAUSAL || key <= position);
          if (SEGMENTS) seen = seen && may_see(segments + keys, position, key);
          scores[n][e] = seen ? scores[n][e] * SCALE : LOWEST;
          most = fmaxf(most, scores[n][e]);
        }
      most = fmaxf(largest[half], row_max(most));
      const float base = most == LOWEST ? 0.0f : most, keep = expf(largest[half] - base);
      largest[half] = most;
      sum[half] *= keep;
      UNROLL for (u32 n = 0; n < DEPTH / 8; n++) out[n][2 * half] *= keep, out[n][2 * half + 1] *= keep;
      UNROLL for (u32 n = 0; n < 8; n++)
        UNROLL for (u32 e = 2 * half; e < 2 * half + 2; e++) {
          scores[n][e] = expf(scores[n][e] - base);
          sum[half] += scores[n][e];
        }
    }
    copy_wait<1>();
    __syncthreads();
    UNROLL for (u32 s = 0; s < 4; s++) {
      u32 a[4], b[4];
      pack_a(a, scores[2 * s], scores[2 * s + 1]);
      UNROLL for (u32 n = 0; n < DEPTH / 16; n++) {
        load_b<true, DEPTH>(b, sv, 16 * n, 16 * s);
        multiply(out[2 * n], out[2 * n + 1], a, b);
      }
    }
    __syncthreads();
  }
  copy_wait<0>();
  UNROLL for (u32 half = 0; half < 2; half++) {
    const u32 row = q0 + warp * 16 + row_of(2 * half);
    const float all = row_sum(sum[half]);
    if (row >= QUERIES) continue;
    const bool real = row < place.count;
    o_t* to = o + (sample * QUERIES + row) * HEADS * WIDTH + head * WIDTH;
    UNROLL for (u32 n = 0; n < DEPTH / 8; n++)
      UNROLL for (u32 e = 2 * half; e < 2 * half + 2; e++) {
        const u32 c = 8 * n + column_of(e);
        if (c < WIDTH) store_one(to + c, real ? out[n][e] / all : 0.0f);
      }
    if (!CACHED && column_of(0) == 0) store_one(lse + (sample * HEADS + head) * QUERIES + row, largest[half] + logf(all));
  }
}
#undef ROOM
#undef LOAD_KEYS
