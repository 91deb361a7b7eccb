// The gradients of gamma and beta, first half: sums over CHUNK rows of dy n and dy, one partial sum per chunk and column.
// FLOPs: 4 per element. Bytes: dy and x are read once. Bound by memory. The second half is sum_rows.cu over the chunks.
// With CENTRED, n = (x - mean) rstd, and beta has a gradient; otherwise n = x rstd.
ENTRY(THREADS) KERNEL(const float* dy, const float* x, const float* mean, const float* rstd, float* gamma, float* beta) {
  const u32 column = blockIdx.x * THREADS + threadIdx.x;
  const u64 first = (u64)blockIdx.y * CHUNK, end = first + CHUNK < ROWS ? first + CHUNK : ROWS;
  if (column >= COLS) return;
  float scaled = 0.0f, plain = 0.0f;
  for (u64 row = first; row < end; row++) {
    const float grad = dy[row * COLS + column];
    const float away = CENTRED ? x[row * COLS + column] - mean[row] : x[row * COLS + column];
    scaled += grad * (away * rstd[row]);
    plain += grad;
  }
  gamma[(u64)blockIdx.y * COLS + column] = scaled;
  if (CENTRED) beta[(u64)blockIdx.y * COLS + column] = plain;
}
