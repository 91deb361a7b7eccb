// C = op(A) op(B) for BATCH pairs, with bias per column, activation and residual. Tiles of 64 x 64, 16 wide along k; a thread
// holds 4 x 4 sums, each from the first k to the last, so that a row has the same bits in every batch.
// FLOPs: 2 M N K. Bytes: A is read N / 64 times, B M / 64 times, C written once. In f32 without tensor cores: to be held against
// the rate of fused multiply-add. In place: the thread that writes an element of C reads the residual there.
ENTRY(256) KERNEL(const float* a, const float* b, const float* bias, const float* residual, float* c, float* before) {
  DYNAMIC_SHARED(raw);
  float* sa = (float*)raw;
  float* sb = sa + 16 * 68;
  const u32 columns = (N + 63) / 64, rows = (M + 63) / 64, t = threadIdx.x;
  const u32 n0 = blockIdx.x % columns * 64, m0 = blockIdx.x / columns % rows * 64;
  const u64 batch = blockIdx.x / columns / rows;
  a += batch * M * K;
  b += batch * K * N;
  c += batch * M * N;
  float sum[4][4] = {};
  for (u32 k0 = 0; k0 < K; k0 += 16) {
    for (u32 i = 0; i < 4; i++) {
      const u32 m = TRANSPOSE_A ? t % 64 : t / 16 + 16 * i, k = TRANSPOSE_A ? t / 64 + 4 * i : t % 16;
      const bool inside = m0 + m < M && k0 + k < K;
      const u64 at = TRANSPOSE_A ? (u64)(k0 + k) * M + m0 + m : (u64)(m0 + m) * K + k0 + k;
      sa[k * 68 + m] = inside ? a[at] : 0.0f;
    }
    for (u32 i = 0; i < 4; i++) {
      const u32 n = TRANSPOSE_B ? t / 16 + 16 * i : t % 64, k = TRANSPOSE_B ? t % 16 : t / 64 + 4 * i;
      const bool inside = n0 + n < N && k0 + k < K;
      const u64 at = TRANSPOSE_B ? (u64)(n0 + n) * K + k0 + k : (u64)(k0 + k) * N + n0 + n;
      sb[k * 68 + n] = inside ? b[at] : 0.0f;
    }
    __syncthreads();
    UNROLL
    for (u32 k = 0; k < 16; k++) {
      const Four x = *(const Four*)(sa + k * 68 + t / 16 * 4), y = *(const Four*)(sb + k * 68 + t % 16 * 4);
      UNROLL
      for (u32 i = 0; i < 4; i++)
        UNROLL
        for (u32 j = 0; j < 4; j++) sum[i][j] += x.at[i] * y.at[j];
    }
    __syncthreads();
  }
  for (u32 i = 0; i < 4; i++)
    for (u32 j = 0; j < 4; j++) {
      const u32 m = m0 + t / 16 * 4 + i, n = n0 + t % 16 * 4 + j;
      if (m >= M || n >= N) continue;
      const u64 at = (u64)m * N + n;
      float value = sum[i][j];
      if (BIAS) value += bias[n];
      if (ACTIVATED) before[at] = value;
      value = ACTIVATION(value);
      if (RESIDUAL) value += residual[at];
      c[at] = value;
    }
}
