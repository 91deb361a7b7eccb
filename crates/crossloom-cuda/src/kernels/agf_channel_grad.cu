// Gradients of a gate with channels: the sum over the tokens of a sample, from the first to the last, of grad (v - h if CONVEX). One thread
// per sample, tap and channel. FLOPs: 2 per feature (3 if CONVEX). Bytes: features and rows once. Bound by memory.
ENTRY(THREADS) KERNEL(const grad_t* grad, const v_t* v, const int* index, const h_t* h, dgate_t* dgate) {
  const u64 at = (u64)blockIdx.x * THREADS + threadIdx.x;
  if (at >= (u64)SAMPLES * TAPS * COLS) return;
  const u32 c = at % COLS, k = at / COLS % TAPS;
  const u64 sample = at / COLS / TAPS;
  float sum = 0.0f;
  for (u32 n = 0; n < TOKENS; n++) {
    const int row = index[sample * TOKENS + n];
    if (row < 0 || row >= ROWS) continue;
    const u64 state = (sample * ROWS + row) * COLS + c;
    const float feature = load_one(v + ((k * SAMPLES + sample) * TOKENS + n) * COLS + c);
    sum += load_one(grad + state) * (CONVEX ? feature - load_one(h + state) : feature);
  }
  store_one(dgate + at, sum);
}
