#define TAPS 4
#define SAMPLES 16
#define TOKENS 16
#define ROWS 72
#define COLS 96
#define WIDE 1
#define CONVEX 0
#define CHANNEL 0
#define CENTRED 0
#define EPS 1e-5f
#define TEAM 32
#define THREADS 128
#define h_t float
#define gate_t float
#define v_t float
#define gamma_t float
#define beta_t float
#define y_t float
// The gated update of the visual rows and the norm of every row, in one sweep: s = h + sum over taps of gate (v - h if CONVEX), then
// y = norm(s), an RMS norm, or a layer norm if CENTRED. One team per row of h looks for its number in the index of its sample.
// FLOPs: 2 (3 if CONVEX) per feature, 4 (8 if CENTRED) per element. Bytes: h and v once in, s and y once out; s is read again from cache.
// Bound by memory: to be held against the bandwidth of a copy. In place over h: a thread reads an element before it writes the same one.
// Numbers below -1 or outside of the sample, and rows that are named twice, are reported.
ENTRY(THREADS) agf_norm_2d7f99643bf8(const u64* stop, const h_t* h, const gate_t* gate, const v_t* v, const int* index, const gamma_t* gamma, const beta_t* beta,
                      float* s, y_t* y, float* mean, float* rstd, u64* fault) {
  if (*stop != NOTHING) { if (blockIdx.x == 0 && threadIdx.x == 0) *fault = *stop; return; }
  ROW_OF_TEAM((u64)SAMPLES * ROWS)
  const u64 sample = row / ROWS, start = row * COLS;
  const u64 token = token_of_row<TOKENS, ROWS>(index + sample * TOKENS, row % ROWS, lane / 32 == 0, sample * TOKENS, fault);
  float sum = 0.0f, squares = 0.0f;
  EACH_PIECE(c) {
    const Numbers<WIDE> old = load<WIDE>(h + start + c);
    Numbers<WIDE> value = old;
    if (token != TOKENS)
      for (u32 k = 0; k < TAPS; k++) {
        const u64 edge = sample * TAPS + k;
        const Numbers<WIDE> feature = load<WIDE>(v + ((k * SAMPLES + sample) * TOKENS + token) * COLS + c);
        Numbers<WIDE> share;
        if (CHANNEL) share = load<WIDE>(gate + edge * COLS + c);
        else EACH(j) share.at[j] = load_one(gate + edge);
        EACH(j) value.at[j] += share.at[j] * (CONVEX ? feature.at[j] - old.at[j] : feature.at[j]);
      }
    store(s + start + c, value);
    EACH(j) sum += value.at[j], squares += value.at[j] * value.at[j];
  }
  const float middle = CENTRED ? team_sum<TEAM>(sum, room) / COLS : 0.0f;
  if (CENTRED) {
    squares = 0.0f;
    EACH_PIECE(c) {
      const Numbers<WIDE> value = load<WIDE>(s + start + c);
      EACH(j) squares += (value.at[j] - middle) * (value.at[j] - middle);
    }
  }
  const float scale = 1.0f / sqrtf(team_sum<TEAM>(squares, room) / COLS + EPS);
  EACH_PIECE(c) {
    Numbers<WIDE> value = load<WIDE>(s + start + c);
    const Numbers<WIDE> factor = load<WIDE>(gamma + c);
    EACH(j) value.at[j] = (value.at[j] - middle) * scale * factor.at[j];
    if (CENTRED) {
      const Numbers<WIDE> shift = load<WIDE>(beta + c);
      EACH(j) value.at[j] += shift.at[j];
    }
    store(y + start + c, value);
  }
  if (lane != 0) return;
  if (CENTRED) mean[row] = middle;
  rstd[row] = scale;
}
#undef TAPS
#undef SAMPLES
#undef TOKENS
#undef ROWS
#undef COLS
#undef WIDE
#undef CONVEX
#undef CHANNEL
#undef CENTRED
#undef EPS
#undef TEAM
#undef THREADS
#undef h_t
#undef gate_t
#undef v_t
#undef gamma_t
#undef beta_t
#undef y_t
