// A team is the threads that work on one row: a warp, or a whole block of several warps. Sums within a team have one order: a butterfly
// within a warp, then the warps one after the other.

// Which of `count` parts a block belongs to, where `first` says the first block of each.
template <u32 count>
DEVICE u32 part_of(const u32* first, u32 block) {
  u32 low = 0, high = count;
  while (high - low > 1) {
    const u32 middle = (low + high) / 2;
    if (first[middle] <= block) low = middle;
    else high = middle;
  }
  return low;
}

// The head of kernels with a team of TEAM threads per row: where the warps of a team meet, a thread's number in its team, and its row.
#define ROW_OF_TEAM(rows)                                                             \
  DYNAMIC_SHARED(raw);                                                                \
  float* room = (float*)raw;                                                          \
  const u32 lane = threadIdx.x % TEAM;                                                \
  const u64 row = (u64)blockIdx.x * (THREADS / TEAM) + threadIdx.x / TEAM;            \
  if (row >= (rows)) return;

// `room` is one float per warp.
template <u32 team>
DEVICE float team_sum(float x, float* room) {
  for (u32 mask = 16; mask; mask /= 2) x += shuffle_xor(x, mask);
  if (team > 32) {
    __syncthreads();
    if (threadIdx.x % 32 == 0) room[threadIdx.x / 32] = x;
    __syncthreads();
    x = room[0];
    for (u32 i = 1; i < team / 32; i++) x += room[i];
  }
  return x;
}

template <u32 team>
DEVICE float team_max(float x, float* room) {
  for (u32 mask = 16; mask; mask /= 2) x = larger(x, shuffle_xor(x, mask));
  if (team > 32) {
    __syncthreads();
    if (threadIdx.x % 32 == 0) room[threadIdx.x / 32] = x;
    __syncthreads();
    x = room[0];
    for (u32 i = 1; i < team / 32; i++) x = larger(x, room[i]);
  }
  return x;
}

// Every WIDE columns of a row of COLS that are this thread's.
#define EACH_PIECE(c) for (u32 c = lane * WIDE; c < COLS; c += TEAM * WIDE)
#define EACH(j) UNROLL for (u32 j = 0; j < WIDE; j++)
