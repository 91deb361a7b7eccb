// Tokens as weighted sums of rows of their tap, and of one that all taps share: one warp per token and tap, parts in their order. A
// part of weight 0 is not read. A row that is not there is reported, and nothing is written for its token.
// FLOPs: 2 COLS per part with a weight. Bytes: a row in per such part, a row out. Bound by memory.
ENTRY(THREADS) KERNEL(const features_t* features, const end_t* end, const int* rows, const float* weights, y_t* y, u64* fault) {
  const u32 lane = threadIdx.x % 32;
  const u64 row = (u64)blockIdx.x * (THREADS / 32) + threadIdx.x / 32;
  if (row >= (u64)TAPS * TOKENS) return;
  const u64 tap = row / TOKENS, token = row % TOKENS;
  int named[PARTS];
  float weight[PARTS];
  for (u32 p = 0; p < PARTS; p++) {
    named[p] = rows[token * PARTS + p];
    weight[p] = weights[token * PARTS + p];
    if (named[p] < 0 || named[p] > ROWS) {
      if (lane == 0) report(fault, token * PARTS + p, named[p]);
      return;
    }
  }
  for (u32 c = lane; c < COLS; c += 32) {
    float sum = 0.0f;
    for (u32 p = 0; p < PARTS; p++) {
      if (weight[p] == 0.0f) continue;
      const float value = named[p] == ROWS ? load_one(end + c) : load_one(features + (tap * ROWS + named[p]) * COLS + c);
      sum += weight[p] * value;
    }
    store_one(y + row * COLS + c, sum);
  }
}
