// The gated update of the visual rows: h' = h + sum over taps of gate (v - h if CONVEX), other rows as they are. One warp per row of
// h looks for its number in the index of its sample, 32 tokens at a time.
// FLOPs: 2 (3 if CONVEX) per feature. Bytes: h and v once in, h' once out. Bound by memory: to be held against the bandwidth of a copy.
// In place over h. With BACKWARDS it is the state's gradient of the convex form: every visual row loses gate times itself.
// Numbers below -1 or outside of the sample, and rows that are named twice, are reported.
ENTRY(THREADS) KERNEL(const float* h, const float* gate, const float* v, const int* index, float* y, u64* fault) {
  const u32 lane = threadIdx.x % 32;
  const u64 row = (u64)blockIdx.x * (THREADS / 32) + threadIdx.x / 32;
  if (row >= (u64)SAMPLES * ROWS) return;
  const u64 sample = row / ROWS;
  const int number = (int)(row % ROWS);
  u64 token = TOKENS;
  for (u64 start = 0; start < TOKENS; start += 32) {
    const u64 slot = sample * TOKENS + start + lane;
    const int at = start + lane < TOKENS ? index[slot] : -1;
    if (number == 0 && (at < -1 || at >= ROWS)) report(fault, slot, at);
    for (u32 hits = ballot(at == number); hits; hits &= hits - 1) {
      if (token != TOKENS && lane == 0) report(fault, sample * TOKENS + start + lowest_bit(hits), number);
      token = start + lowest_bit(hits);
    }
  }
  for (u32 c = lane; c < COLS; c += 32) {
    const float old = h[row * COLS + c];
    float value = old;
    if (token != TOKENS)
      for (u32 k = 0; k < TAPS; k++) {
        const float share = gate[(sample * TAPS + k) * (CHANNEL ? COLS : 1) + (CHANNEL ? c : 0)];
        if (BACKWARDS) {
          value -= share * old;
        } else {
          const float feature = v[((k * SAMPLES + sample) * TOKENS + token) * COLS + c];
          value += share * (CONVEX ? feature - old : feature);
        }
      }
    y[row * COLS + c] = value;
  }
}
