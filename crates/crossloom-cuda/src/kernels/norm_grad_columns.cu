// The gradients of gamma and beta, first half: sums over CHUNK rows of dy n and dy, one partial sum per chunk and column.
// FLOPs: 4 per element. Bytes: dy and x are read once. Bound by memory. The second half is sum_rows.cu over the chunks.
// With CENTRED, n = (x - mean) rstd, and beta has a gradient; otherwise n = x rstd.
ENTRY(THREADS) KERNEL(const dy_t* dy, const x_t* x, const float* mean, const float* rstd, float* gamma, float* beta) {
  const u32 column = blockIdx.x * THREADS + threadIdx.x;
  const u64 first = (u64)blockIdx.y * CHUNK, end = first + CHUNK < ROWS ? first + CHUNK : ROWS;
  if (column >= COLS) return;
  float scaled = 0.0f, plain = 0.0f;
  for (u64 row = first; row < end; row++) {
    const float grad = load_one(dy + row * COLS + column);
    const float value = load_one(x + row * COLS + column), away = CENTRED ? value - mean[row] : value;
    scaled += grad * (away * rstd[row]);
    plain += grad;
  }
  gamma[(u64)blockIdx.y * COLS + column] = scaled;
  if (CENTRED) beta[(u64)blockIdx.y * COLS + column] = plain;
}
