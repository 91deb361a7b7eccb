// Layer norm of rows, alone or of a sum that it also writes: y = (x - mean) rstd gamma + beta.
// FLOPs: 8 per element, 9 with the sum. Bytes: x is read three times (twice from cache), y written once, with ADD another operand
// and another result. Bound by memory: to be held against the bandwidth of a copy. In place as in rms_norm.cu.
ENTRY(THREADS) KERNEL(const x_t* x, const r_t* r, const gamma_t* gamma, const beta_t* beta, float* s, y_t* y, float* mean,
                      float* rstd) {
  ROW_OF_TEAM(ROWS)
  const u64 start = row * COLS;
  float sum = 0.0f;
  EACH_PIECE(c) {
    Numbers<WIDE> value = load<WIDE>(x + start + c);
    if (ADD) {
      const Numbers<WIDE> other = load<WIDE>(r + start + c);
      EACH(j) value.at[j] += other.at[j];
      store(s + start + c, value);
    }
    EACH(j) sum += value.at[j];
  }
  const float middle = team_sum<TEAM>(sum, room) / COLS;
  float squares = 0.0f;
  EACH_PIECE(c) {
    const Numbers<WIDE> value = ADD ? load<WIDE>(s + start + c) : load<WIDE>(x + start + c);
    EACH(j) squares += (value.at[j] - middle) * (value.at[j] - middle);
  }
  const float scale = 1.0f / sqrtf(team_sum<TEAM>(squares, room) / COLS + EPS);
  EACH_PIECE(c) {
    Numbers<WIDE> value = ADD ? load<WIDE>(s + start + c) : load<WIDE>(x + start + c);
    const Numbers<WIDE> factor = load<WIDE>(gamma + c), shift = load<WIDE>(beta + c);
    EACH(j) value.at[j] = (value.at[j] - middle) * scale * factor.at[j] + shift.at[j];
    store(y + start + c, value);
  }
  if (lane == 0) {
    mean[row] = middle;
    rstd[row] = scale;
  }
}
