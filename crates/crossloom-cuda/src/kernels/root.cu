// The root of the sum of COUNT numbers, by one block. FLOPs: 1 per number. Bytes: 8 per number. Bound by the latency of one
// block.
ENTRY(256) KERNEL(const double* partial, float* norm) {
  DYNAMIC_SHARED(raw);
  double* sums = (double*)raw;
  double sum = 0.0;
  for (u64 i = threadIdx.x; i < COUNT; i += 256) sum += partial[i];
  sums[threadIdx.x] = sum;
  for (u32 half = 128; half; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
  }
  if (threadIdx.x == 0) norm[0] = (float)sqrt(sums[0]);
}
