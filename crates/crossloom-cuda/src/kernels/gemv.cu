// C = A B^T for up to 8 rows of A, with bias per column, activation and residual: one warp per COLUMNS columns of C, which reads their
// weights once, eight numbers at a time, of any type, quantized ones too. A lane's sum goes on in steps of 256 along k, then a butterfly, so
// that a row has the same bits with every number of rows up to 8.
// FLOPs: 2 M N K. Bytes: B is read once from memory, A once per warp from cache. Bound by memory: to be held against the bandwidth of a read.
// In place: the lane that writes an element of C reads the residual there.
ENTRY(128) KERNEL(const a_t* a, const b_t* b, const bias_t* bias, const residual_t* residual, c_t* c, before_t* before) {
  const u32 lane = threadIdx.x % 32, n0 = (blockIdx.x * 4 + threadIdx.x / 32) * COLUMNS;
  float sum[COLUMNS][M] = {};
  // Loads of STEPS steps are under way at once; more would take registers from warps that could load too.
  UNROLL_BY(STEPS) for (u32 k = lane * 8; k < K; k += 256) {
    Numbers<8> weights[COLUMNS];
    UNROLL for (u32 i = 0; i < COLUMNS; i++)
      if (n0 + i < N) weights[i] = load_from<8>(b, (u64)(n0 + i) * K + k);
    UNROLL for (u32 m = 0; m < M; m++) {
      const Numbers<8> row = load<8>(a + m * K + k);
      UNROLL for (u32 i = 0; i < COLUMNS; i++)
        UNROLL for (u32 j = 0; j < 8; j++) sum[i][m] += row.at[j] * weights[i].at[j];
    }
  }
  UNROLL for (u32 i = 0; i < COLUMNS; i++)
    UNROLL for (u32 m = 0; m < M; m++) {
      const Numbers<1> value = {{team_sum<32>(sum[i][m], 0)}};
      if (lane == 0 && n0 + i < N) FINISH(1, value, n0 + i, (u64)m * N + n0 + i)
    }
}
