// Gradients of the features, and per token those of a gate without channels, which reduce.cu adds up: one warp per token, for all taps.
// FLOPs: 3 per feature (5 if CONVEX). Bytes: the token's row and its features once in, dv once out. Bound by memory: to be held against
// the bandwidth of a copy.
ENTRY(THREADS) KERNEL(const grad_t* grad, const gate_t* gate, const v_t* v, const int* index, const h_t* h, dv_t* dv,
                      float* partial) {
  const u32 lane = threadIdx.x % 32;
  const u64 slot = (u64)blockIdx.x * (THREADS / 32) + threadIdx.x / 32;
  if (slot >= (u64)SAMPLES * TOKENS) return;
  const u64 sample = slot / TOKENS;
  const int row = index[slot];
  const bool named = row >= 0 && row < ROWS;
  const u64 at = (sample * ROWS + (named ? row : 0)) * COLS;
  for (u32 k = 0; k < TAPS; k++) {
    const u64 edge = sample * TAPS + k;
    const float whole = CHANNEL ? 0.0f : load_one(gate + edge);
    float sum = 0.0f;
    for (u32 c = lane * WIDE; c < COLS; c += 32 * WIDE) {
      const u64 feature = (k * (u64)SAMPLES * TOKENS + slot) * COLS + c;
      Numbers<WIDE> result = {};
      if (named) {
        const Numbers<WIDE> g = load<WIDE>(grad + at + c);
        Numbers<WIDE> share, state;
        if (CHANNEL) share = load<WIDE>(gate + edge * COLS + c);
        EACH(j) result.at[j] = (CHANNEL ? share.at[j] : whole) * g.at[j];
        if (!CHANNEL) {
          const Numbers<WIDE> value = load<WIDE>(v + feature);
          if (CONVEX) state = load<WIDE>(h + at + c);
          EACH(j) sum += g.at[j] * (CONVEX ? value.at[j] - state.at[j] : value.at[j]);
        }
      }
      store(dv + feature, result);
    }
    if (!CHANNEL) {
      sum = team_sum<32>(sum, 0);
      if (lane == 0) partial[slot * TAPS + k] = sum;
    }
  }
}
