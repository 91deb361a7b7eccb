// RMS norm backwards to its rows: dx = rstd (slope - n mean(slope n)) + ds, with slope = dy gamma and n = x rstd.
// FLOPs: 10 per element. Bytes: dy and x are read twice (the second time from cache), dx is written, with RESIDUAL ds read too. Bound
// by memory. In place over ds: the thread that reads an element writes it.
ENTRY(THREADS) KERNEL(const dy_t* dy, const x_t* x, const gamma_t* gamma, const float* rstd, const ds_t* ds, dx_t* dx) {
  ROW_OF_TEAM(ROWS)
  const u64 start = row * COLS;
  const float scale = rstd[row];
  float sum = 0.0f;
  EACH_PIECE(c) {
    const Numbers<WIDE> grad = load<WIDE>(dy + start + c), value = load<WIDE>(x + start + c), factor = load<WIDE>(gamma + c);
    EACH(j) sum += grad.at[j] * factor.at[j] * (value.at[j] * scale);
  }
  const float mean = team_sum<TEAM>(sum, room) / COLS;
  EACH_PIECE(c) {
    const Numbers<WIDE> grad = load<WIDE>(dy + start + c), value = load<WIDE>(x + start + c), factor = load<WIDE>(gamma + c);
    Numbers<WIDE> result;
    EACH(j) result.at[j] = scale * (grad.at[j] * factor.at[j] - value.at[j] * scale * mean);
    if (RESIDUAL) {
      const Numbers<WIDE> other = load<WIDE>(ds + start + c);
      EACH(j) result.at[j] += other.at[j];
    }
    store(dx + start + c, result);
  }
}
