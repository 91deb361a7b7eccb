#define M 256
#define N 96
#define K 96
#define TRANSPOSE_A 0
#define TRANSPOSE_B 1
#define BATCHED_B 0
#define BIAS 1
#define RESIDUAL 0
#define ACTIVATED 0
#define ACTIVATION 
#define RANK 8
#define FACTOR 1e0f
#define low_t float
#define up_t float
#define held_t float
#define SLOPE 0
#define SLOPE_OF 
#define SUMS 0
#define a_t float
#define b_t float
#define bias_t float
#define residual_t float
#define c_t float
#define before_t float
// C = op(A) op(B) for BATCH pairs, with bias per column, activation and residual. Tiles of 64 x 64, 16 wide along k; a thread
// holds 4 x 4 sums, each from the first k to the last, so that a row has the same bits in every batch. Rows are GROUPS parts; with RANK
// each adds FACTOR low up^T of its own, rounded to held_t, whose addresses `pairs` holds. Operands of any type; B may be quantized.
// With SLOPE the sums meet the slope of an activation at `before`; with SUMS the blocks of the first columns sum up the rows of op(A).
// FLOPs: 2 M N (K + RANK). Bytes: A is read N / 64 times, B M / 64 times, C written once. In f32 without tensor cores: to be held against
// the rate of fused multiply-add. In place: the thread that writes an element of C reads the residual there.
ENTRY(256) gemm_89076f6343e8(const u64* stop, const a_t* a, const b_t* b, const bias_t* bias, const residual_t* residual, const u64* pairs, c_t* c,
                  before_t* before, float* sums) {
  if (*stop != NOTHING) { return; }
  DYNAMIC_SHARED(raw);
  float* sa = (float*)raw;
  float* sb = sa + 16 * 68;
  const u32 columns = (N + 63) / 64, rows = (M + 63) / 64, t = threadIdx.x;
  const u32 n0 = blockIdx.x % columns * 64, m0 = blockIdx.x / columns % rows * 64;
  // No operand has more elements than 32 bits count.
  const u32 batch = blockIdx.x / columns / rows;
  const u32 from_a = batch * M * K, from_b = BATCHED_B ? batch * K * N : 0, out = batch * M * N;
  float sum[4][4] = {}, low[4][4] = {}, row_sum = 0.0f;
  for (u32 k0 = 0; k0 < K; k0 += 16) {
    for (u32 i = 0; i < 4; i++) {
      const u32 m = TRANSPOSE_A ? t % 64 : t / 16 + 16 * i, k = TRANSPOSE_A ? t / 64 + 4 * i : t % 16;
      const bool inside = m0 + m < M && k0 + k < K;
      const u32 at = TRANSPOSE_A ? (k0 + k) * M + m0 + m : (m0 + m) * K + k0 + k;
      sa[k * 68 + m] = inside ? load_at(a, from_a + at) : 0.0f;
    }
    for (u32 i = 0; i < 4; i++) {
      const u32 n = TRANSPOSE_B ? t / 16 + 16 * i : t % 64, k = TRANSPOSE_B ? t % 16 : t / 64 + 4 * i;
      const bool inside = n0 + n < N && k0 + k < K;
      const u32 at = TRANSPOSE_B ? (n0 + n) * K + k0 + k : (k0 + k) * N + n0 + n;
      sb[k * 68 + n] = inside ? load_at(b, from_b + at) : 0.0f;
    }
    __syncthreads();
    if (SUMS && n0 == 0 && t < 64)
      for (u32 k = 0; k < 16; k++) row_sum += sa[k * 68 + t];
    add_outer_products(sum, sa, sb);
    __syncthreads();
  }
  if (SUMS && n0 == 0 && t < 64 && m0 + t < M) sums[m0 + t] = row_sum;
  if (RANK) {
    const low_t* down = (const low_t*)pairs[2 * batch];
    const up_t* up = (const up_t*)pairs[2 * batch + 1];
    for (u32 k0 = 0; k0 < RANK; k0 += 16) {
      for (u32 i = 0; i < 4; i++) {
        const u32 line = t / 16 + 16 * i, k = t % 16;
        sa[k * 68 + line] = m0 + line < M && k0 + k < RANK ? load_at(down, (m0 + line) * RANK + k0 + k) : 0.0f;
        sb[k * 68 + line] = n0 + line < N && k0 + k < RANK ? load_at(up, (n0 + line) * RANK + k0 + k) : 0.0f;
      }
      __syncthreads();
      add_outer_products(low, sa, sb);
      __syncthreads();
    }
  }
  for (u32 i = 0; i < 4; i++)
    for (u32 j = 0; j < 4; j++) {
      const u32 m = m0 + t / 16 * 4 + i, n = n0 + t % 16 * 4 + j;
      if (m >= M || n >= N) continue;
      const Numbers<1> value = {{RANK ? sum[i][j] + FACTOR * rounded(low[i][j], (const held_t*)0) : sum[i][j]}};
      FINISH(1, value, n, out + m * N + n)
    }
}
#undef M
#undef N
#undef K
#undef TRANSPOSE_A
#undef TRANSPOSE_B
#undef BATCHED_B
#undef BIAS
#undef RESIDUAL
#undef ACTIVATED
#undef ACTIVATION
#undef RANK
#undef FACTOR
#undef low_t
#undef up_t
#undef held_t
#undef SLOPE
#undef SLOPE_OF
#undef SUMS
#undef a_t
#undef b_t
#undef bias_t
#undef residual_t
#undef c_t
#undef before_t
