// A norm and the gated update before it backwards, in one sweep: the gradient of every row as in rms_norm_grad.cu, or layer_norm_grad.cu if
// CENTRED, and of a visual row also those of its features and its part of those of the gates, which reduce.cu adds up. One team per row of
// the state, then one per token that names no row, whose features have no gradient. Gates have no channels.
// FLOPs: 10 (13 if CENTRED) per element, 3 (5 if CONVEX) per feature. Bytes: dy, s, with RESIDUAL ds, and v once in, dh and dv once out; dy,
// s and dh are read again from cache. Bound by memory: to be held against the bandwidth of a copy. In place over ds.
ENTRY(THREADS) KERNEL(const dy_t* dy, const s_t* s, const gamma_t* gamma, const float* mean, const float* rstd, const ds_t* ds,
                      const gate_t* gate, const v_t* v, const int* index, const h_t* h, float* dh, dv_t* dv, float* partial) {
  const u64 all = (u64)SAMPLES * ROWS;
  ROW_OF_TEAM(all + (u64)SAMPLES * TOKENS)
  if (row >= all) {
    const u64 slot = row - all;
    if (index[slot] >= 0 && index[slot] < ROWS) return;
    const Numbers<WIDE> none = {};
    for (u32 k = 0; k < TAPS; k++) {
      EACH_PIECE(c) store(dv + (k * (u64)SAMPLES * TOKENS + slot) * COLS + c, none);
      if (lane == 0) partial[slot * TAPS + k] = 0.0f;
    }
    return;
  }
  const u64 sample = row / ROWS, start = row * COLS;
  const u64 token = token_of_row<TOKENS, ROWS>(index + sample * TOKENS, row % ROWS, false, 0, 0);
  const float middle = CENTRED ? mean[row] : 0.0f, scale = rstd[row];
  float sum = 0.0f, along = 0.0f;
  EACH_PIECE(c) {
    const Numbers<WIDE> grad = load<WIDE>(dy + start + c), value = load<WIDE>(s + start + c), factor = load<WIDE>(gamma + c);
    EACH(j) {
      const float slope = grad.at[j] * factor.at[j];
      if (CENTRED) sum += slope;
      along += slope * ((value.at[j] - middle) * scale);
    }
  }
  if (CENTRED) sum = team_sum<TEAM>(sum, room) / COLS;
  along = team_sum<TEAM>(along, room) / COLS;
  EACH_PIECE(c) {
    const Numbers<WIDE> grad = load<WIDE>(dy + start + c), value = load<WIDE>(s + start + c), factor = load<WIDE>(gamma + c);
    Numbers<WIDE> result;
    EACH(j) result.at[j] = scale * (grad.at[j] * factor.at[j] - sum - (value.at[j] - middle) * scale * along);
    if (RESIDUAL) {
      const Numbers<WIDE> other = load<WIDE>(ds + start + c);
      EACH(j) result.at[j] += other.at[j];
    }
    store(dh + start + c, result);
  }
  if (token == TOKENS) return;
  float whole = 0.0f;
  for (u32 k = 0; k < TAPS; k++) {
    const float share = load_one(gate + sample * TAPS + k);
    whole += share;
    float product = 0.0f;
    EACH_PIECE(c) {
      const u64 feature = ((k * SAMPLES + sample) * TOKENS + token) * COLS + c;
      const Numbers<WIDE> grad = load<WIDE>(dh + start + c), value = load<WIDE>(v + feature);
      Numbers<WIDE> state, result;
      if (CONVEX) state = load<WIDE>(h + start + c);
      EACH(j) {
        result.at[j] = share * grad.at[j];
        product += grad.at[j] * (CONVEX ? value.at[j] - state.at[j] : value.at[j]);
      }
      store(dv + feature, result);
    }
    product = team_sum<TEAM>(product, room);
    if (lane == 0) partial[(sample * TOKENS + token) * TAPS + k] = product;
  }
  if (CONVEX) EACH_PIECE(c) {
      Numbers<WIDE> grad = load<WIDE>(dh + start + c);
      EACH(j) grad.at[j] -= whole * grad.at[j];
      store(dh + start + c, grad);
    }
}
