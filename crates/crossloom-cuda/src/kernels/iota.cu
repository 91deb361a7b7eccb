// The coordinate along one axis. FLOPs: none. Bytes: 4 out per element. Bound by memory.
ENTRY(THREADS) KERNEL(y_t* y) {
  const u64 at = (u64)blockIdx.x * THREADS + threadIdx.x;
  if (at < ELEMENTS) store_one(y + at, (float)(at / INNER % EXTENT));
}
