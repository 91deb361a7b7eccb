// The gated update of the visual rows: h' = h + sum over taps of gate (v - h if CONVEX), other rows as they are. One warp per row of
// h looks for its number in the index of its sample, 32 tokens at a time.
// FLOPs: 2 (3 if CONVEX) per feature. Bytes: h and v once in, h' once out. Bound by memory: to be held against the bandwidth of a copy.
// In place over h. With BACKWARDS it is the state's gradient of the convex form: every visual row loses gate times itself.
// Numbers below -1 or outside of the sample, and rows that are named twice, are reported.
ENTRY(THREADS) KERNEL(const h_t* h, const gate_t* gate, const v_t* v, const int* index, y_t* y, u64* fault) {
  const u32 lane = threadIdx.x % 32;
  const u64 row = (u64)blockIdx.x * (THREADS / 32) + threadIdx.x / 32;
  if (row >= (u64)SAMPLES * ROWS) return;
  const u64 sample = row / ROWS;
  const u64 token = token_of_row<TOKENS, ROWS>(index + sample * TOKENS, row % ROWS, true, sample * TOKENS, fault);
  for (u32 c = lane * WIDE; c < COLS; c += 32 * WIDE) {
    const Numbers<WIDE> old = load<WIDE>(h + row * COLS + c);
    Numbers<WIDE> value = old;
    if (token != TOKENS)
      for (u32 k = 0; k < TAPS; k++) {
        const u64 edge = sample * TAPS + k;
        const float whole = CHANNEL ? 0.0f : load_one(gate + edge);
        Numbers<WIDE> share, feature;
        if (CHANNEL) share = load<WIDE>(gate + edge * COLS + c);
        if (!BACKWARDS) feature = load<WIDE>(v + ((k * SAMPLES + sample) * TOKENS + token) * COLS + c);
        EACH(j) {
          const float part = CHANNEL ? share.at[j] : whole;
          if (BACKWARDS) value.at[j] -= part * old.at[j];
          else value.at[j] += part * (CONVEX ? feature.at[j] - old.at[j] : feature.at[j]);
        }
      }
    store(y + row * COLS + c, value);
  }
}
