// The loss backwards: share (exp(logit - lse) - [target]), zero in rows without a target. FLOPs: 3 per logit beside the exponential.
// Bytes: logits in, gradient out. Bound by memory. In place over the logits.
ENTRY(THREADS) KERNEL(const float* share, const logits_t* logits, const int* targets, const lse_t* lse, y_t* y, u64* fault) {
  const u64 at = (u64)blockIdx.x * THREADS + threadIdx.x;
  if (at >= (u64)ROWS * COLS) return;
  const u64 row = at / COLS;
  const u32 column = at % COLS;
  const int target = targets[row];
  if (column == 0 && (target < -1 || target >= COLS)) report(fault, row, target);
  const float error = expf(load_one(logits + at) - load_one(lse + row)) - (target == (int)column ? 1.0f : 0.0f);
  store_one(y + at, target == -1 ? 0.0f : share[0] * error);
}
