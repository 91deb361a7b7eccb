// C = op(A) op(B) of bf16 numbers for BATCH pairs, summed in f32 by tensor cores, with bias per column, activation and residual. Tiles of
// 64 x 64, 32 wide along k, in shared memory as [row of A or column of B][k]; each of four warps holds 32 x 32 sums, each from the
// first k to the last, so that a row has the same bits in every batch.
// FLOPs: 2 M N K. Bytes: A is read N / 64 times, B M / 64 times, C written once. To be held against the rate of mma.sync.
// In place: the thread that writes an element of C reads the residual there.
#define STRIDE 40
ENTRY(128) KERNEL(const Bf16* a, const Bf16* b, const BIAS_TYPE* bias, const RESIDUAL_TYPE* residual, RESULT_TYPE* c,
                  BEFORE_TYPE* before) {
  DYNAMIC_SHARED(raw);
  Bf16* sa = (Bf16*)raw;
  Bf16* sb = sa + 64 * STRIDE;
  const u32 columns = (N + 63) / 64, rows = (M + 63) / 64;
  const u32 n0 = blockIdx.x % columns * 64, m0 = blockIdx.x / columns % rows * 64;
  const u64 batch = blockIdx.x / columns / rows;
  const u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32, warp_m = warp / 2 * 32, warp_n = warp % 2 * 32;
  a += batch * M * K;
  b += batch * K * N;
  const u64 out = batch * M * N;
  float sum[2][4][4] = {};
  for (u32 k0 = 0; k0 < K; k0 += 32) {
    load_pieces<TRANSPOSE_A, M, K>(sa, a, m0, k0);
    load_pieces<!TRANSPOSE_B, N, K>(sb, b, n0, k0);
    __syncthreads();
    UNROLL
    for (u32 k = 0; k < 32; k += 16) {
      const u32 r = lane % 8, matrix = lane / 8;
      u32 fa[2][4], fb[2][4];
      UNROLL
      for (u32 i = 0; i < 2; i++) {
        ldmatrix(fa[i], sa + (warp_m + 16 * i + matrix % 2 * 8 + r) * STRIDE + k + matrix / 2 * 8);
        ldmatrix(fb[i], sb + (warp_n + 16 * i + matrix / 2 * 8 + r) * STRIDE + k + matrix % 2 * 8);
      }
      UNROLL
      for (u32 i = 0; i < 2; i++)
        UNROLL
        for (u32 j = 0; j < 4; j++) mma_bf16(sum[i][j], fa[i], fb[j / 2][j % 2 * 2], fb[j / 2][j % 2 * 2 + 1]);
    }
    __syncthreads();
  }
  UNROLL
  for (u32 i = 0; i < 2; i++)
    UNROLL
    for (u32 j = 0; j < 4; j++)
      UNROLL
      for (u32 e = 0; e < 4; e++) {
        const u32 m = m0 + warp_m + 16 * i + lane / 4 + e / 2 * 8, n = n0 + warp_n + 8 * j + lane % 4 * 2 + e % 2;
        if (m >= M || n >= N) continue;
        const u64 at = out + (u64)m * N + n;
        float value = sum[i][j][e];
        if (BIAS) value += load_one(bias + n);
        if (ACTIVATED) store_one(before + at, value);
        value = ACTIVATION(value);
        if (RESIDUAL) value += load_one(residual + at);
        store_one(c + at, value);
      }
}
#undef STRIDE
