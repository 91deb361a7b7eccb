// What kernels of products share.

// Sums of four rows and four columns of a thread go on by 16 steps along k, from tiles [k][row] and [k][column] of 64, 68 apart. By a
// block of 256.
DEVICE void add_outer_products(float (&sum)[4][4], const float* sa, const float* sb) {
  UNROLL
  for (u32 k = 0; k < 16; k++) {
    const Numbers<4> x = load<4>(sa + k * 68 + threadIdx.x / 16 * 4), y = load<4>(sb + k * 68 + threadIdx.x % 16 * 4);
    UNROLL
    for (u32 i = 0; i < 4; i++)
      UNROLL
      for (u32 j = 0; j < 4; j++) sum[i][j] += x.at[i] * y.at[j];
  }
}

// What is done to `width` sums side by side, of columns from `n` on, before they are written to `at`. A kernel's constants say what.
#define FINISH(width, sums, n, place)                                                         \
  {                                                                                           \
    const u64 at = (place);                                                                   \
    Numbers<width> result = sums, other;                                                      \
    if (BIAS) {                                                                               \
      other = load<width>(bias + (n));                                                        \
      for (u32 f = 0; f < width; f++) result.at[f] += other.at[f];                            \
    }                                                                                         \
    if (SLOPE) {                                                                              \
      other = load<width>(before + at);                                                       \
      for (u32 f = 0; f < width; f++)                                                         \
        result.at[f] = rounded(result.at[f], (const held_t*)0) * rounded(SLOPE_OF(other.at[f]), (const held_t*)0); \
    }                                                                                         \
    if (ACTIVATED) store(before + at, result);                                                \
    for (u32 f = 0; f < width; f++) result.at[f] = ACTIVATION(result.at[f]);                  \
    if (RESIDUAL) {                                                                           \
      other = load<width>(residual + at);                                                     \
      for (u32 f = 0; f < width; f++) result.at[f] += other.at[f];                            \
    }                                                                                         \
    store(c + at, result);                                                                    \
  }
