// What kernels share, in the language that both compilers take. A team is the threads that work on one row: a warp, or a whole
// block of several warps. Sums within a team have one order: a butterfly within a warp, then the warps one after the other.

// A word into which nothing was reported.
#define NOTHING (~(u64)0)

struct __align__(16) Four {
  float at[4];
};

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

DEVICE float sum_of(float x, float y) { return x + y; }
DEVICE float larger(float x, float y) { return x != x ? x : y != y ? y : fmaxf(x, y); }
DEVICE float smaller(float x, float y) { return x != x ? x : y != y ? y : fminf(x, y); }

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
