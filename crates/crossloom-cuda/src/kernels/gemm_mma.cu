// C = op(A) op(B) of bf16 numbers for BATCH pairs, summed in f32 by tensor cores, with bias per column, activation and residual. Tiles of
// TILE_M x TILE_N, 32 wide along k, STAGES of them in shared memory, so that copies run ahead of products; each warp holds WARP_M x WARP_N
// sums, each from the first k to the last, so that a row has the same bits in every batch. RANK, SLOPE and SUMS as in gemm.cu; A lies transposed where its
// rows are summed up.
// FLOPs: 2 M N (K + RANK). Bytes: A is read N / TILE_N times, B M / TILE_M times, C written once. To be held against the rate of mma.sync.
// In place: the thread that writes an element of C reads the residual there.
#define LINES_A (TRANSPOSE_A ? 32 : TILE_M)
#define WIDTH_A (TRANSPOSE_A ? TILE_M : 32)
#define LINES_B (TRANSPOSE_B ? TILE_N : 32)
#define WIDTH_B (TRANSPOSE_B ? 32 : TILE_N)
#define ROOM_A (LINES_A * TILE_LINE(WIDTH_A))
#define ROOM_B (LINES_B * TILE_LINE(WIDTH_B))
#define STAGE (ROOM_A + ROOM_B)
#define LOAD(stage, k0)                                                                                                     \
  {                                                                                                                         \
    Bf16* to = tiles + (stage) * STAGE;                                                                                     \
    if (TRANSPOSE_A) load_tile<LINES_A, WIDTH_A, THREADS>(to, a + from_a, M, k0, K, m0, M);                                 \
    else load_tile<LINES_A, WIDTH_A, THREADS>(to, a + from_a, K, m0, M, k0, K);                                             \
    if (TRANSPOSE_B) load_tile<LINES_B, WIDTH_B, THREADS>(to + ROOM_A, b + from_b, K, n0, N, k0, K);                        \
    else load_tile<LINES_B, WIDTH_B, THREADS>(to + ROOM_A, b + from_b, N, k0, K, n0, N);                                    \
  }
#define MULTIPLY(sum, transposed_a, width_a, sa, transposed_b, width_b, sb)                                                 \
  UNROLL for (u32 k = 0; k < 32; k += 16) {                                                                                 \
    u32 fa[WARP_M / 16][4], fb[WARP_N / 16][4];                                                                             \
    UNROLL for (u32 i = 0; i < WARP_M / 16; i++) load_a<transposed_a, width_a>(fa[i], sa, warp_m + 16 * i, k);              \
    UNROLL for (u32 j = 0; j < WARP_N / 16; j++) load_b<transposed_b, width_b>(fb[j], sb, warp_n + 16 * j, k);              \
    UNROLL for (u32 i = 0; i < WARP_M / 16; i++)                                                                            \
      UNROLL for (u32 j = 0; j < WARP_N / 16; j++) multiply(sum[i][2 * j], sum[i][2 * j + 1], fa[i], fb[j]);                \
  }
ENTRY(THREADS) KERNEL(const Bf16* a, const Bf16* b, const bias_t* bias, const residual_t* residual, const u64* pairs, c_t* c,
                      before_t* before, float* sums) {
  DYNAMIC_SHARED(raw);
  Bf16* tiles = (Bf16*)raw;
  const u32 columns = (N + TILE_N - 1) / TILE_N, rows = (M + TILE_M - 1) / TILE_M, warp = threadIdx.x / 32;
  const u32 n0 = blockIdx.x % columns * TILE_N, m0 = blockIdx.x / columns % rows * TILE_M;
  const u32 warp_m = warp / (TILE_N / WARP_N) * WARP_M, warp_n = warp % (TILE_N / WARP_N) * WARP_N;
  const u64 batch = blockIdx.x / columns / rows;
  const u64 from_a = batch * M * K, from_b = BATCHED_B ? batch * K * N : 0, out = batch * M * N;
  float sum[WARP_M / 16][WARP_N / 8][4] = {}, row_sum = 0.0f;
  for (u32 stage = 0; stage < STAGES - 1; stage++) {
    if (stage * 32 < K) LOAD(stage, stage * 32)
    copy_commit();
  }
  for (u32 k0 = 0, stage = 0; k0 < K; k0 += 32, stage = (stage + 1) % STAGES) {
    copy_wait<STAGES - 2>();
    __syncthreads();
    const u32 ahead = k0 + 32 * (STAGES - 1);
    if (ahead < K) LOAD((stage + STAGES - 1) % STAGES, ahead)
    copy_commit();
    const Bf16* sa = tiles + stage * STAGE;
    if (SUMS && n0 == 0 && threadIdx.x < TILE_M)
      for (u32 k = 0; k < 32; k++) row_sum += load_one(sa + k * TILE_LINE(WIDTH_A) + threadIdx.x);
    MULTIPLY(sum, TRANSPOSE_A, WIDTH_A, sa, !TRANSPOSE_B, WIDTH_B, sa + ROOM_A)
  }
  if (SUMS && n0 == 0 && threadIdx.x < TILE_M && m0 + threadIdx.x < M) sums[m0 + threadIdx.x] = row_sum;
  if (RANK) {
    // The pair's product is made beside the sums, scaled and added to them.
    const Bf16* down = (const Bf16*)pairs[2 * batch];
    const Bf16* up = (const Bf16*)pairs[2 * batch + 1];
    float low[WARP_M / 16][WARP_N / 8][4] = {};
    for (u32 k0 = 0; k0 < RANK; k0 += 32) {
      __syncthreads();
      load_tile<TILE_M, 32, THREADS>(tiles, down, RANK, m0, M, k0, RANK);
      load_tile<TILE_N, 32, THREADS>(tiles + TILE_M * TILE_LINE(32), up, RANK, n0, N, k0, RANK);
      copy_commit();
      copy_wait<0>();
      __syncthreads();
      MULTIPLY(low, false, 32, tiles, false, 32, tiles + TILE_M * TILE_LINE(32))
    }
    UNROLL for (u32 i = 0; i < WARP_M / 16; i++)
      UNROLL for (u32 j = 0; j < WARP_N / 8; j++)
        UNROLL for (u32 e = 0; e < 4; e++) sum[i][j][e] += FACTOR * rounded(low[i][j][e], (const held_t*)0);
  }
  UNROLL for (u32 i = 0; i < WARP_M / 16; i++)
    UNROLL for (u32 j = 0; j < WARP_N / 8; j++)
      UNROLL for (u32 e = 0; e < 4; e += PAIRED ? 2 : 1) {
        const u32 m = m0 + warp_m + 16 * i + row_of(e), n = n0 + warp_n + 8 * j + column_of(e);
        if (m >= M || n >= N) continue;
        Numbers<PAIRED ? 2 : 1> value;
        UNROLL for (u32 o = 0; o < (PAIRED ? 2 : 1); o++) value.at[o] = sum[i][j][e + o];
        FINISH((PAIRED ? 2 : 1), value, n, out + (u64)m * N + n)
      }
}
#undef LINES_A
#undef WIDTH_A
#undef LINES_B
#undef WIDTH_B
#undef ROOM_A
#undef ROOM_B
#undef STAGE
#undef LOAD
#undef MULTIPLY
