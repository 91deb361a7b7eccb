// Gradients of the features, and per token those of a gate without channels, which sum_rows.cu adds up: one warp per token, for all taps.
// FLOPs: 3 per feature (5 if CONVEX). Bytes: the token's row and its features once in, dv once out. Bound by memory.
ENTRY(THREADS) KERNEL(const float* grad, const float* gate, const float* v, const int* index, const float* h, float* dv,
                      float* partial) {
  const u32 lane = threadIdx.x % 32;
  const u64 slot = (u64)blockIdx.x * (THREADS / 32) + threadIdx.x / 32;
  if (slot >= (u64)SAMPLES * TOKENS) return;
  const u64 sample = slot / TOKENS;
  const int row = index[slot];
  const bool named = row >= 0 && row < ROWS;
  const u64 at = (sample * ROWS + (named ? row : 0)) * COLS;
  for (u32 k = 0; k < TAPS; k++) {
    float sum = 0.0f;
    for (u32 c = lane; c < COLS; c += 32) {
      const u64 feature = (k * (u64)SAMPLES * TOKENS + slot) * COLS + c;
      const float g = named ? grad[at + c] : 0.0f;
      const float share = gate[(sample * TAPS + k) * (CHANNEL ? COLS : 1) + (CHANNEL ? c : 0)];
      dv[feature] = named ? share * g : 0.0f;
      if (!CHANNEL && named) sum += g * (CONVEX ? v[feature] - h[at + c] : v[feature]);
    }
    if (!CHANNEL) {
      sum = team_sum<32>(sum, 0);
      if (lane == 0) partial[slot * TAPS + k] = sum;
    }
  }
}
