// The sum of squares of a chunk of CHUNK elements of one tensor, in f64: one partial sum per block, those of the first tensor first.
// FLOPs: 2 per element. Bytes: 4 per element. Bound by memory: to be held against the bandwidth of a read. `table` is one address per
// tensor.
TABLE(u32, KERNEL_first) = {FIRST_BLOCKS};
TABLE(u32, KERNEL_elements) = {ELEMENTS};
ENTRY(256) KERNEL(const u64* table, double* partial) {
  DYNAMIC_SHARED(raw);
  double* sums = (double*)raw;
  const u32 tensor = part_of<TENSORS>(KERNEL_first, blockIdx.x), elements = KERNEL_elements[tensor];
  const float* x = (const float*)table[tensor];
  const u64 first = (u64)(blockIdx.x - KERNEL_first[tensor]) * CHUNK, end = first + CHUNK < elements ? first + CHUNK : elements;
  double sum = 0.0;
  for (u64 i = first + threadIdx.x; i < end; i += 256) sum += (double)x[i] * x[i];
  sums[threadIdx.x] = sum;
  for (u32 half = 128; half; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
  }
  if (threadIdx.x == 0) partial[blockIdx.x] = sums[0];
}
