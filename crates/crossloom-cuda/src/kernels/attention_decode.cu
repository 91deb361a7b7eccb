// One new query per sequence and head over a cache of keys and values, first half: CHUNK positions of one sequence and one key head per
// block, for all query heads that read it, so that keys and values are read once. A block's warps score keys, eight lanes for a key, then
// every thread sums eight columns of the values of some keys. Written are largest score, sum of weights and weighted values of the chunk.
// FLOPs: 4 WIDTH + 5 per pair of query and key. Bytes: k and v of the filled part once. Bound by memory: to be held against the bandwidth
// of a read. Chunks begin at multiples of CHUNK, so that a row has the same bits in every batch.
#define PIECES (WIDTH / 8)
#define PARTS (128 / PIECES)
ENTRY(128) KERNEL(const q_t* q, const k_t* k, const v_t* v, const int* segments, const int* slot, const int* start,
                  const int* count, float* partial, u64* fault) {
  DYNAMIC_SHARED(raw);
  float* sq = (float*)raw;
  float* weights = sq + GROUP * WIDTH;
  float* sums = weights + GROUP * CHUNK;
  const u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32, chunks = (KEYS + CHUNK - 1) / CHUNK;
  const u32 chunk = blockIdx.x % chunks, shared_head = blockIdx.x / chunks % KV_HEADS;
  const u64 sample = blockIdx.x / chunks / KV_HEADS;
  const Place place = place_of(slot, start, count, sample, SAMPLES, SLOTS, KEYS, 1, fault);
  const u32 first = chunk * CHUNK;
  if (place.count == 0 || first > place.offset) return;
  const u32 filled = place.offset + 1 - first < CHUNK ? place.offset + 1 - first : CHUNK;
  for (u32 i = threadIdx.x; i < GROUP * WIDTH; i += 128) sq[i] = load_one(q + (sample * HEADS + shared_head * GROUP) * WIDTH + i);
  __syncthreads();
  for (u32 s0 = 0; s0 < filled; s0 += 16) {
    const u32 s = s0 + warp * 4 + lane / 8;
    float score[GROUP] = {};
    if (s < filled)
      for (u32 c = lane % 8 * 8; c < WIDTH; c += 64) {
        const Numbers<8> key = load<8>(k + ((place.sequence * KEYS + first + s) * KV_HEADS + shared_head) * WIDTH + c);
        UNROLL for (u32 h = 0; h < GROUP; h++)
          UNROLL for (u32 j = 0; j < 8; j++) score[h] += sq[h * WIDTH + c + j] * key.at[j];
      }
    bool seen = s < filled;
    if (SEGMENTS) seen = seen && may_see(segments + place.sequence * KEYS, place.offset, first + s);
    UNROLL for (u32 h = 0; h < GROUP; h++) {
      for (u32 mask = 4; mask; mask /= 2) score[h] += shuffle_xor(score[h], mask);
      if (lane % 8 == 0 && s < CHUNK) weights[h * CHUNK + s] = seen ? score[h] * SCALE : LOWEST;
    }
  }
  __syncthreads();
  for (u32 h = warp; h < GROUP; h += 4) {
    float most = LOWEST, sum = 0.0f;
    for (u32 s = lane; s < filled; s += 32) most = fmaxf(most, weights[h * CHUNK + s]);
    most = team_max<32>(most, 0);
    for (u32 s = lane; s < filled; s += 32) {
      const float weight = most == LOWEST ? 0.0f : expf(weights[h * CHUNK + s] - most);
      weights[h * CHUNK + s] = weight;
      sum += weight;
    }
    sum = team_sum<32>(sum, 0);
    float* to = partial + ((sample * HEADS + shared_head * GROUP + h) * chunks + chunk) * (WIDTH + 2);
    if (lane == 0) to[0] = most, to[1] = sum;
  }
  __syncthreads();
  const u32 piece = threadIdx.x % PIECES, part = threadIdx.x / PIECES;
  float out[GROUP][8] = {};
  if (part < PARTS)
    for (u32 s = part; s < filled; s += PARTS) {
      const Numbers<8> value = load<8>(v + ((place.sequence * KEYS + first + s) * KV_HEADS + shared_head) * WIDTH + piece * 8);
      UNROLL for (u32 h = 0; h < GROUP; h++) {
        const float weight = weights[h * CHUNK + s];
        if (weight != 0.0f) UNROLL for (u32 j = 0; j < 8; j++) out[h][j] += weight * value.at[j];
      }
    }
  UNROLL for (u32 h = 0; h < GROUP; h++) {
    __syncthreads();
    if (part < PARTS) UNROLL for (u32 j = 0; j < 8; j++) sums[part * WIDTH + piece * 8 + j] = out[h][j];
    __syncthreads();
    if (threadIdx.x < WIDTH) {
      float sum = 0.0f;
      for (u32 p = 0; p < PARTS; p++) sum += sums[p * WIDTH + threadIdx.x];
      partial[((sample * HEADS + shared_head * GROUP + h) * chunks + chunk) * (WIDTH + 2) + 2 + threadIdx.x] = sum;
    }
  }
}
#undef PIECES
#undef PARTS
