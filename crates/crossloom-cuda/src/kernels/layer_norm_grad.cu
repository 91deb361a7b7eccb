// Layer norm backwards to its rows: dx = rstd (slope - mean(slope) - n mean(slope n)) + ds, slope = dy gamma, n = (x - mean) rstd.
// FLOPs: 13 per element. Bytes and places as in rms_norm_grad.cu. Bound by memory.
ENTRY(THREADS) KERNEL(const dy_t* dy, const x_t* x, const gamma_t* gamma, const float* mean, const float* rstd, const ds_t* ds,
                      dx_t* dx) {
  ROW_OF_TEAM(ROWS)
  const u64 start = row * COLS;
  const float middle = mean[row], scale = rstd[row];
  float sum = 0.0f, along = 0.0f;
  EACH_PIECE(c) {
    const Numbers<WIDE> grad = load<WIDE>(dy + start + c), value = load<WIDE>(x + start + c), factor = load<WIDE>(gamma + c);
    EACH(j) {
      const float slope = grad.at[j] * factor.at[j];
      sum += slope;
      along += slope * ((value.at[j] - middle) * scale);
    }
  }
  sum = team_sum<TEAM>(sum, room) / COLS;
  along = team_sum<TEAM>(along, room) / COLS;
  EACH_PIECE(c) {
    const Numbers<WIDE> grad = load<WIDE>(dy + start + c), value = load<WIDE>(x + start + c), factor = load<WIDE>(gamma + c);
    Numbers<WIDE> result;
    EACH(j) result.at[j] = scale * (grad.at[j] * factor.at[j] - sum - (value.at[j] - middle) * scale * along);
    if (RESIDUAL) {
      const Numbers<WIDE> other = load<WIDE>(ds + start + c);
      EACH(j) result.at[j] += other.at[j];
    }
    store(dx + start + c, result);
  }
}
