// Whole numbers as floats, or floats as whole numbers with the fraction cut off; a float that is none of 32 bits is reported.
// FLOPs: 1 per element. Bytes: 4 in, 4 out. Bound by memory.
ENTRY(THREADS) KERNEL(const from_t* x, to_t* y, u64* fault) {
  const u64 at = (u64)blockIdx.x * THREADS + threadIdx.x;
  if (at >= ELEMENTS) return;
  const from_t value = x[at];
  if (CHECKED && !((float)value > -2147483904.0f && (float)value < 2147483648.0f)) {
    report(fault, at < 0xffffffffu ? (u32)at : 0xffffffffu, (int)float_bits((float)value));
    return;
  }
  y[at] = (to_t)value;
}
