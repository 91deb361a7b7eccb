// What kernels share, in the language that both compilers take. A team is the threads that work on one row: a warp, or a whole
// block of several warps. Sums within a team have one order: a butterfly within a warp, then the warps one after the other.

// A word into which nothing was reported.
#define NOTHING (~(u64)0)

struct __align__(16) Four {
  float at[4];
};

// A number of 16 bits: the upper half of a float.
struct Bf16 {
  u16 bits;
};
struct __align__(8) TwoPairs {
  u32 at[2];
};
struct __align__(16) EightBf16 {
  Bf16 at[8];
};

// Numbers of any type are computed with as floats, and rounded once where they are stored.
DEVICE float load_one(const float* from) { return *from; }
DEVICE float load_one(const Bf16* from) { return low_bf16(from->bits); }
DEVICE void store_one(float* to, float number) { *to = number; }
DEVICE void store_one(Bf16* to, float number) { to->bits = (u16)(pack_bf16(number, 0.0f) & 0xffffu); }

// Four numbers at once where their address allows it: what is part of a tensor may begin anywhere.
DEVICE Four load_four(const float* from) {
  if (((u64)from & 15) == 0) return *(const Four*)from;
  const Four numbers = {{from[0], from[1], from[2], from[3]}};
  return numbers;
}
DEVICE void store_four(float* to, const Four& numbers) {
  if (((u64)to & 15) == 0) {
    *(Four*)to = numbers;
  } else {
    for (u32 i = 0; i < 4; i++) to[i] = numbers.at[i];
  }
}

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

DEVICE float sum_of(float x, float y) { return x + y; }
DEVICE float larger(float x, float y) { return x != x ? x : y != y ? y : fmaxf(x, y); }
DEVICE float smaller(float x, float y) { return x != x ? x : y != y ? y : fminf(x, y); }

DEVICE Four load_four(const Bf16* from) {
  if (((u64)from & 7) == 0) {
    const TwoPairs pairs = *(const TwoPairs*)from;
    const Four numbers = {{low_bf16(pairs.at[0]), high_bf16(pairs.at[0]), low_bf16(pairs.at[1]), high_bf16(pairs.at[1])}};
    return numbers;
  }
  const Four numbers = {{load_one(from), load_one(from + 1), load_one(from + 2), load_one(from + 3)}};
  return numbers;
}
DEVICE void store_four(Bf16* to, const Four& numbers) {
  if (((u64)to & 7) == 0) {
    const TwoPairs pairs = {{pack_bf16(numbers.at[0], numbers.at[1]), pack_bf16(numbers.at[2], numbers.at[3])}};
    *(TwoPairs*)to = pairs;
  } else {
    for (u32 i = 0; i < 4; i++) store_one(to + i, numbers.at[i]);
  }
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

DEVICE float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }
DEVICE float recip(float x) { return 1.0f / x; }

DEVICE float gelu_tanh(float x) {
  return 0.5f * x * (1.0f + tanhf(0.7978845608f * (x + 0.044715f * x * x * x)));
}
DEVICE float gelu_tanh_grad(float x) {
  float t = tanhf(0.7978845608f * (x + 0.044715f * x * x * x));
  return 0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * 0.7978845608f * (1.0f + 0.134145f * x * x);
}
DEVICE float gelu_erf(float x) { return 0.5f * x * (1.0f + erff(0.7071067812f * x)); }
DEVICE float gelu_erf_grad(float x) {
  return 0.5f * (1.0f + erff(0.7071067812f * x)) + x * expf(-0.5f * x * x) * 0.3989422804f;
}
DEVICE float gated(float a, float x) {
  float s = sigmoid(a * x);
  return s + a * x * s * (1.0f - s);
}
DEVICE float quick_gelu(float x) { return x * sigmoid(1.702f * x); }
DEVICE float quick_gelu_grad(float x) { return gated(1.702f, x); }
DEVICE float silu(float x) { return x * sigmoid(x); }
DEVICE float silu_grad(float x) { return gated(1.0f, x); }

DEVICE bool is_finite(float x) { return (float_bits(x) & 0x7f800000u) != 0x7f800000u; }

// The rule of segments, of positions of one sequence: all see their own and those of segment 0, and nobody sees or is -1 but itself.
DEVICE bool may_see(const int* segments, u32 position, u32 key) {
  const int mine = segments[position], other = segments[key];
  return key == position || (mine != -1 && other != -1 && (other == 0 || other == mine));
}

// 32 rows of one head from [.., rows, heads, width] into shared memory, one float apart; zeros behind the last. By a block of 128.
template <u32 width>
DEVICE void load_tile(float* to, const float* from, u64 start, u32 heads, u32 head, u32 first, u32 rows) {
  for (u32 i = threadIdx.x; i < 32 * width; i += 128) {
    const u32 row = first + i / width;
    to[i / width * (width + 1) + i % width] =
        row < rows ? from[((start + row) * heads + head) * width + i % width] : 0.0f;
  }
}

// 64 rows, 32 wide along k, of a matrix [rows, k], or [k, rows] if transposed, into shared memory as [row][k] with 40 numbers from row to
// row, so that no two rows of a fragment lie in the same banks; zeros outside of the matrix. By a block of 128.
template <bool transposed, u32 rows, u32 depth>
DEVICE void load_pieces(Bf16* to, const Bf16* from, u32 row0, u32 k0) {
  for (u32 i = threadIdx.x; i < 256; i += 128) {
    // Eight numbers that lie side by side in the matrix: along k, or along its rows.
    const u32 row = transposed ? i % 8 * 8 : i / 4, k = transposed ? i / 8 : i % 4 * 8;
    const u32 width = transposed ? rows : depth, line = transposed ? k0 + k : row0 + row, start = transposed ? row0 + row : k0 + k;
    const bool inside = line < (transposed ? depth : rows);
    const Bf16* at = from + (u64)line * width + start;
    EightBf16 piece;
    if (inside && start + 8 <= width && ((u64)at & 15) == 0) {
      piece = *(const EightBf16*)at;
    } else {
      for (u32 j = 0; j < 8; j++) piece.at[j].bits = inside && start + j < width ? at[j].bits : (u16)0;
    }
    if (transposed) {
      for (u32 j = 0; j < 8; j++) to[(row + j) * 40 + k] = piece.at[j];
    } else {
      *(EightBf16*)(to + row * 40 + k) = piece;
    }
  }
}
