// Block-quantized weights, as the formats of GGUF files lay them out: the numbers that blocks stand for, element by element of an array
// of blocks. Factors' products fit a float exactly, so a number is rounded once, when an offset is added.

struct Q8_0 {
  u8 bytes[34];
};
struct Q4_0 {
  u8 bytes[18];
};
struct Q4_1 {
  u8 bytes[20];
};
struct Q4K {
  u8 bytes[144];
};
struct Q6K {
  u8 bytes[210];
};

// A factor of a block. Blocks begin at even addresses.
DEVICE float factor_at(const u8* bytes) { return half_float(*(const u16*)bytes); }

template <class T>
DEVICE float load_at(const T* from, u64 at) {
  return load_one(from + at);
}

// A factor and 32 signed numbers.
DEVICE float load_at(const Q8_0* from, u64 at) {
  const u8* block = from[at / 32].bytes;
  return factor_at(block) * (float)(signed char)block[2 + at % 32];
}

// The number of 4 bits at `i` of 32: the first half lies in the lower bits of 16 bytes, the second in the upper ones.
DEVICE float half_byte(const u8* bytes, u32 i) { return (float)(bytes[i % 16] >> i / 16 * 4 & 15); }

// A factor and 32 numbers of 4 bits, 8 more than they stand for.
DEVICE float load_at(const Q4_0* from, u64 at) {
  const u8* block = from[at / 32].bytes;
  return factor_at(block) * (half_byte(block + 2, at % 32) - 8.0f);
}

// A factor, an offset and 32 numbers of 4 bits.
DEVICE float load_at(const Q4_1* from, u64 at) {
  const u8* block = from[at / 32].bytes;
  return rounded_product(factor_at(block), half_byte(block + 4, at % 32)) + factor_at(block + 2);
}

// Two factors, scales and offsets of 6 bits for each of eight groups, and numbers of 4 bits: of two groups in the lower and the upper
// bits of 32 bytes. The upper two bits of the last four groups' scales and offsets are those that the first four leave.
DEVICE float load_at(const Q4K* from, u64 at) {
  const u8* block = from[at / 256].bytes;
  const u8* packed = block + 4;
  const u32 group = at % 256 / 32, i = at % 32;
  const u32 scale = group < 4 ? packed[group] & 63 : (packed[group + 4] & 15) | packed[group - 4] >> 6 << 4;
  const u32 offset = group < 4 ? packed[group + 4] & 63 : packed[group + 4] >> 4 | packed[group] >> 6 << 4;
  const u32 number = block[16 + group / 2 * 32 + i] >> group % 2 * 4 & 15;
  return rounded_product(factor_at(block) * (float)scale, (float)number) - factor_at(block + 2) * (float)offset;
}

// A factor, a signed scale for every 16 numbers, and numbers of 6 bits, 32 more than they stand for: of four groups the lower four bits
// in 64 bytes, the upper two in 32.
DEVICE float load_at(const Q6K* from, u64 at) {
  const u8* block = from[at / 256].bytes;
  const u32 group = at % 256 / 32, i = at % 32, half = group / 4, quarter = group % 4;
  const u32 low = block[64 * half + quarter % 2 * 32 + i] >> quarter / 2 * 4 & 15;
  const u32 high = block[128 + 32 * half + i] >> quarter * 2 & 3;
  const float scale = factor_at(block + 208) * (float)(signed char)block[192 + 2 * group + i / 16];
  return scale * ((float)(low | high << 4) - 32.0f);
}

// Some numbers side by side, from a multiple of their count on.
template <u32 n, class T>
DEVICE Numbers<n> load_from(const T* from, u64 at) {
  Numbers<n> numbers;
  UNROLL
  for (u32 i = 0; i < n; i++) numbers.at[i] = load_at(from, at + i);
  return numbers;
}
template <u32 n>
DEVICE Numbers<n> load_from(const float* from, u64 at) {
  return load<n>(from + at);
}
template <u32 n>
DEVICE Numbers<n> load_from(const Bf16* from, u64 at) {
  return load<n>(from + at);
}
template <u32 n>
DEVICE Numbers<n> load_from(const F16* from, u64 at) {
  return load<n>(from + at);
}

// A number to another place, as it is where its type stays.
template <class T>
DEVICE void move_one(T* to, const T* from, u64 at) {
  *to = from[at];
}
template <class T, class From>
DEVICE void move_one(T* to, const From* from, u64 at) {
  store_one(to, load_at(from, at));
}
