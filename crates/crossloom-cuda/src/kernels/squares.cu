// The sum of squares of a chunk of CHUNK elements, in f64: one partial sum per block. FLOPs: 2 per element. Bytes: 4 per element.
ENTRY(256) KERNEL(const float* x, double* partial) {
  DYNAMIC_SHARED(raw);
  double* sums = (double*)raw;
  const u64 first = (u64)blockIdx.x * CHUNK, end = first + CHUNK < ELEMENTS ? first + CHUNK : ELEMENTS;
  double sum = 0.0;
  for (u64 i = first + threadIdx.x; i < end; i += 256) sum += (double)x[i] * x[i];
  sums[threadIdx.x] = sum;
  for (u32 half = 128; half; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
  }
  if (threadIdx.x == 0) partial[FIRST + blockIdx.x] = sums[0];
}
