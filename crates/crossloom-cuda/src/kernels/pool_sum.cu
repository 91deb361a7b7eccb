// y[g, h] = sum over n of weights[g, h, n] x[g, n], from the first row to the last: one thread per column, for up to 8 heads at a
// time, so that x is read once for them. FLOPs: 2 WIDTH per group, head and row. Bytes: x once per 8 heads. Bound by memory.
ENTRY(128) KERNEL(const x_t* x, const float* weights, y_t* y) {
  const u32 tiles = (WIDTH + 127) / 128, c = blockIdx.x % tiles * 128 + threadIdx.x;
  const u32 first = blockIdx.x / tiles % ((HEADS + 7) / 8) * 8;
  const u64 group = blockIdx.x / tiles / ((HEADS + 7) / 8);
  if (c >= WIDTH) return;
  float sum[8] = {};
  for (u32 n = 0; n < ROWS; n++) {
    const float value = load_one(x + (group * ROWS + n) * WIDTH + c);
    UNROLL
    for (u32 i = 0; i < 8; i++)
      if (first + i < HEADS) sum[i] += weights[(group * HEADS + first + i) * ROWS + n] * value;
  }
  UNROLL
  for (u32 i = 0; i < 8; i++)
    if (first + i < HEADS) store_one(y + (group * HEADS + first + i) * WIDTH + c, sum[i]);
}
