// Numbers of all types. They are computed with as floats, and rounded once where they are stored.

// A word into which nothing was reported.
#define NOTHING (~(u64)0)
#define LOWEST (bits_float(0xff800000u))

// The upper half of a float.
struct Bf16 {
  u16 bits;
};
// An IEEE number of 16 bits.
struct F16 {
  u16 bits;
};

DEVICE float load_one(const float* from) { return *from; }
DEVICE float load_one(const Bf16* from) { return low_bf16(from->bits); }
DEVICE float load_one(const F16* from) { return half_float(from->bits); }
DEVICE void store_one(float* to, float number) { *to = number; }
DEVICE void store_one(Bf16* to, float number) { to->bits = (u16)(pack_bf16(number, 0.0f) & 0xffffu); }
DEVICE void store_one(F16* to, float number) { to->bits = float_half(number); }

// What a number is once it was stored as that type.
DEVICE float rounded(float number, const float*) { return number; }
DEVICE float rounded(float number, const Bf16*) { return low_bf16(pack_bf16(number, 0.0f) & 0xffffu); }
DEVICE float rounded(float number, const F16*) { return half_float(float_half(number)); }

// Some numbers side by side.
template <u32 n>
struct Numbers {
  float at[n];
};
template <class T, u32 n>
struct __align__(sizeof(T) * n < 16 ? sizeof(T) * n : 16) Pack {
  T at[n];
};

// They are loaded and stored at once, or 16 bytes at a time, where their address allows it: what is part of a tensor may begin anywhere.
template <u32 n, class T>
DEVICE Numbers<n> load(const T* from) {
  Numbers<n> numbers;
  if (((u64)from & (sizeof(Pack<T, n>) < 16 ? sizeof(Pack<T, n>) - 1 : 15)) == 0) {
    const Pack<T, n> pack = *(const Pack<T, n>*)from;
    UNROLL
    for (u32 i = 0; i < n; i++) numbers.at[i] = load_one(&pack.at[i]);
  } else {
    UNROLL
    for (u32 i = 0; i < n; i++) numbers.at[i] = load_one(from + i);
  }
  return numbers;
}
template <u32 n, class T>
DEVICE void store(T* to, const Numbers<n>& numbers) {
  if (((u64)to & (sizeof(Pack<T, n>) < 16 ? sizeof(Pack<T, n>) - 1 : 15)) == 0) {
    Pack<T, n> pack;
    UNROLL
    for (u32 i = 0; i < n; i++) store_one(&pack.at[i], numbers.at[i]);
    *(Pack<T, n>*)to = pack;
  } else {
    UNROLL
    for (u32 i = 0; i < n; i++) store_one(to + i, numbers.at[i]);
  }
}

DEVICE float sum_of(float x, float y) { return x + y; }
DEVICE float larger(float x, float y) { return x != x ? x : y != y ? y : fmaxf(x, y); }
DEVICE float smaller(float x, float y) { return x != x ? x : y != y ? y : fminf(x, y); }
DEVICE bool is_finite(float x) { return (float_bits(x) & 0x7f800000u) != 0x7f800000u; }
