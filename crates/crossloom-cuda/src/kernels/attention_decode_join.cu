// One new query per sequence and head over a cache, second half: the chunks' parts one after the other, one warp per sequence and head.
// FLOPs: 3 WIDTH per chunk. Bytes: WIDTH + 2 floats per filled chunk, the result once. Bound by memory, of which it is little.
ENTRY(128) KERNEL(const float* partial, const int* start, const int* count, o_t* o) {
  const u32 lane = threadIdx.x % 32, chunks = (KEYS + CHUNK - 1) / CHUNK;
  const u64 row = (u64)blockIdx.x * 4 + threadIdx.x / 32;
  if (row >= (u64)SAMPLES * HEADS) return;
  const int at = start[row / HEADS];
  const bool real = count[row / HEADS] == 1 && at >= 0 && at < KEYS;
  const u32 filled = real ? at / CHUNK + 1 : 0;
  const float* parts = partial + row * chunks * (WIDTH + 2);
  float most = LOWEST, sum = 0.0f;
  for (u32 i = 0; i < filled; i++) most = fmaxf(most, parts[i * (WIDTH + 2)]);
  for (u32 i = 0; i < filled; i++) sum += parts[i * (WIDTH + 2) + 1] * expf(parts[i * (WIDTH + 2)] - most);
  for (u32 c = lane; c < WIDTH; c += 32) {
    float value = 0.0f;
    for (u32 i = 0; i < filled; i++) value += parts[i * (WIDTH + 2) + 2 + c] * expf(parts[i * (WIDTH + 2)] - most);
    store_one(o + row * WIDTH + c, real ? value / sum : 0.0f);
  }
}
