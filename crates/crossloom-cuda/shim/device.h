// CUDA C as kernels use it, for a C++ compiler.
#pragma once
#include "block.h"

#include <cmath>
#include <cstring>
#include <type_traits>
#include <utility>

typedef uint8_t u8;
typedef uint32_t u32;
typedef uint16_t u16;
typedef uint64_t u64;

#define __global__ static
#define DEVICE static inline
#define TABLE(type, name) static const type name[]
#define ENTRY(threads) static void
#define UNROLL
#define UNROLL_BY(steps)
#define __align__(bytes) alignas(bytes)
#define threadIdx (shim::self().index)
#define blockIdx (shim::block->index)
#define blockDim (shim::block->extent)
#define gridDim (shim::block->grid)
// The block's shared memory, all of it asked for at the launch.
#define DYNAMIC_SHARED(name) unsigned char* const name = shim::block->shared

static inline void __syncthreads(int line = __builtin_LINE()) { shim::barrier(line); }
static inline void __syncwarp(int line = __builtin_LINE()) {
  shim::meet("__syncwarp", line, [](shim::Warp&, u32) {});
}

namespace shim {

// A number of 4 bytes from the lane of that number.
template <class T>
inline T from_lane(T value, u32 lane, const char* place, int line) {
  static_assert(sizeof(T) == 4);
  Warp& w = warp();
  u32 set = w.meetings & 1;
  memcpy(w.slots[set][self().lane], &value, 4);
  meet(place, line, [](Warp&, u32) {});
  T result;
  memcpy(&result, w.slots[set][lane % WARP], 4);
  return result;
}

inline void in_shared(const void* at, size_t bytes, const char* what) {
  size_t offset = static_cast<const unsigned char*>(at) - block->shared;
  if (offset > block->shared_bytes || block->shared_bytes - offset < bytes)
    fault(OUT_OF_BOUNDS, "out of bounds: %s of %zu bytes at %zd of %zu bytes of shared memory", what, bytes,
          (ptrdiff_t)offset, block->shared_bytes);
}

inline void aligned(const void* at, const char* what) {
  if (reinterpret_cast<uintptr_t>(at) % 16) fault(MISALIGNED, "misaligned: %s at %p, which is no multiple of 16", what, at);
}

inline float widened(u32 bits) {
  bits <<= 16;
  float value;
  memcpy(&value, &bits, 4);
  return value;
}

// To nearest, ties to even; what is no number stays none.
inline u32 narrowed(float value) {
  u32 bits;
  memcpy(&bits, &value, 4);
  if ((bits & 0x7fffffff) > 0x7f800000) return 0x7fff;
  return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

}  // namespace shim

// All lanes take part in every exchange: generated kernels have no others.
template <class T>
static inline T shuffle_xor(T value, u32 mask, int line = __builtin_LINE()) {
  return shim::from_lane(value, shim::self().lane ^ mask, "shuffle_xor", line);
}
template <class T>
static inline T shuffle_from(T value, u32 lane, int line = __builtin_LINE()) {
  return shim::from_lane(value, lane, "shuffle_from", line);
}

// One bit per lane.
static inline u32 ballot(bool value, int line = __builtin_LINE()) {
  shim::Warp& w = shim::warp();
  u32 set = w.meetings & 1, bits = 0;
  w.slots[set][shim::self().lane][0] = value;
  shim::meet("ballot", line, [](shim::Warp&, u32) {});
  for (u32 lane = 0; lane < shim::WARP; lane++) bits |= w.slots[set][lane][0] << lane;
  return bits;
}
static inline u32 lowest_bit(u32 bits) { return __builtin_ctz(bits); }

static inline u32 float_bits(float value) {
  u32 bits;
  memcpy(&bits, &value, 4);
  return bits;
}
static inline float bits_float(u32 bits) {
  float value;
  memcpy(&value, &bits, 4);
  return value;
}
// Keeps the smallest report of a launch.
static inline void report(u64* fault, u32 position, int value) {
  u64 told = (u64)position << 32 | (u32)value;
  if (told < *fault) *fault = told;
}
static inline float rounded_product(float x, float y) {
  volatile float product = x * y;
  return product;
}
static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }

// Two numbers as bf16, the first in the lower half.
static inline u32 pack_bf16(float low, float high) { return shim::narrowed(low) | shim::narrowed(high) << 16; }
static inline float low_bf16(u32 pair) { return shim::widened(pair & 0xffff); }
static inline float high_bf16(u32 pair) { return shim::widened(pair >> 16); }

// IEEE numbers of 16 bits.
static inline float half_float(u16 bits) {
  u32 exponent = bits >> 10 & 31, fraction = bits & 0x3ff;
  float size = exponent == 31 ? (fraction ? NAN : INFINITY) : ldexpf(exponent ? fraction | 0x400 : fraction, (int)(exponent ? exponent : 1) - 25);
  return bits >> 15 ? -size : size;
}
// To nearest, ties to even.
static inline u16 float_half(float value) {
  u16 sign = float_bits(value) >> 31 << 15;
  float size = fabsf(value);
  if (size != size) return 0x7fff;
  if (size >= 65520.0f) return sign | 0x7c00;
  if (size == 0.0f) return sign;
  int exponent;
  frexpf(size, &exponent);
  // The last bit of numbers of this size, of the smallest normal ones and below 2^-24.
  int last = (exponent < -13 ? -13 : exponent) - 11;
  float units = rintf(ldexpf(size, -last));
  // Units count on from one exponent to the next.
  return sign | (u16)(units + (exponent < -13 ? 0 : (exponent + 13) * 1024));
}

// 16 bytes from global to shared memory. They are there after the wait, not before: until then the place holds poison.
static inline void copy_async(void* to, const void* from) {
  shim::aligned(to, "an asynchronous copy");
  shim::aligned(from, "an asynchronous copy");
  shim::in_shared(to, 16, "an asynchronous copy");
  memset(to, 0xff, 16);
  shim::self().copies.push_back({static_cast<unsigned char*>(to), static_cast<const unsigned char*>(from)});
}
static inline void copy_commit() {
  shim::Thread& me = shim::self();
  size_t closed = 0;
  for (size_t group : me.groups) closed += group;
  me.groups.push_back(me.copies.size() - closed);
}
// Waits until all groups but the newest `left` are there.
template <int left>
static inline void copy_wait() {
  shim::Thread& me = shim::self();
  while (me.groups.size() > static_cast<size_t>(left)) {
    size_t count = me.groups.front();
    for (size_t i = 0; i < count; i++) memcpy(me.copies[i].to, me.copies[i].from, 16);
    me.copies.erase(me.copies.begin(), me.copies.begin() + count);
    me.groups.erase(me.groups.begin());
  }
}

namespace shim {

// Rows of four 8 x 8 matrices of 16-bit numbers: lane `8 m + r` says where row `r` of matrix `m` is.
template <bool transposed>
inline void load_matrices(u32 (&out)[4], const void* row, int line) {
  aligned(row, "a row of a matrix");
  in_shared(row, 16, "a row of a matrix");
  Warp& w = warp();
  u32 set = w.meetings & 1, lane = self().lane;
  u64 address = reinterpret_cast<u64>(row);
  memcpy(w.slots[set][lane], &address, 8);
  meet("ldmatrix", line, [](Warp&, u32) {});
  for (u32 m = 0; m < 4; m++) {
    u16 pair[2];
    for (u32 half = 0; half < 2; half++) {
      u32 r = transposed ? lane % 4 * 2 + half : lane / 4, c = transposed ? lane / 4 : lane % 4 * 2 + half;
      u64 at;
      memcpy(&at, w.slots[set][m * 8 + r], 8);
      memcpy(&pair[half], reinterpret_cast<const u16*>(at) + c, 2);
    }
    memcpy(&out[m], pair, 4);
  }
}

// Fragments of `m16n8k16`: lane `4 g + t` holds rows `g` and `g + 8` of A and D, and column `g` of B.
inline void multiply(Warp& w, u32 set) {
  float a[16][16], b[16][8];
  for (u32 lane = 0; lane < WARP; lane++) {
    u32 g = lane / 4, t = lane % 4 * 2;
    const u32* s = w.slots[set][lane];
    for (u32 half = 0; half < 2; half++) {
      u32 shift = 16 * half;
      a[g][t + half] = widened(s[0] >> shift & 0xffff);
      a[g + 8][t + half] = widened(s[1] >> shift & 0xffff);
      a[g][t + 8 + half] = widened(s[2] >> shift & 0xffff);
      a[g + 8][t + 8 + half] = widened(s[3] >> shift & 0xffff);
      b[t + half][g] = widened(s[4] >> shift & 0xffff);
      b[t + 8 + half][g] = widened(s[5] >> shift & 0xffff);
    }
  }
  for (u32 i = 0; i < 16; i++)
    for (u32 j = 0; j < 8; j++) {
      float sum = 0;
      for (u32 k = 0; k < 16; k++) sum += a[i][k] * b[k][j];
      w.products[set][i][j] = sum;
    }
}

}  // namespace shim

static inline void ldmatrix(u32 (&out)[4], const void* row, int line = __builtin_LINE()) {
  shim::load_matrices<false>(out, row, line);
}
static inline void ldmatrix_transposed(u32 (&out)[4], const void* row, int line = __builtin_LINE()) {
  shim::load_matrices<true>(out, row, line);
}

// d += a b for tiles of 16 x 16 and 16 x 8 numbers of bf16, summed in f32.
static inline void mma_bf16(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1, int line = __builtin_LINE()) {
  shim::Warp& w = shim::warp();
  u32 set = w.meetings & 1, lane = shim::self().lane, g = lane / 4, t = lane % 4 * 2;
  u32 brought[6] = {a[0], a[1], a[2], a[3], b0, b1};
  memcpy(w.slots[set][lane], brought, sizeof brought);
  shim::meet("mma_bf16", line, shim::multiply);
  d[0] += w.products[set][g][t];
  d[1] += w.products[set][g][t + 1];
  d[2] += w.products[set][g + 8][t];
  d[3] += w.products[set][g + 8][t + 1];
}

namespace shim {

// A kernel as a function of the same list of pointers to arguments that a launch on a device takes.
template <auto kernel>
struct Body;
template <class... Argument, void (*kernel)(Argument...)>
struct Body<kernel> {
  static constexpr u32 count = sizeof...(Argument);
  template <size_t... i>
  static void call(void** arguments, std::index_sequence<i...>) {
    (void)arguments;
    kernel(*static_cast<Argument*>(arguments[i])...);
  }
  static void run(void** arguments) { call(arguments, std::index_sequence_for<Argument...>{}); }
};

}  // namespace shim

#define SHIM_EXPORT(kernel) \
  extern "C" { SHIM_EXPORTED extern const u32 shim_count_##kernel; const u32 shim_count_##kernel = shim::Body<kernel>::count; } \
  extern "C" SHIM_EXPORTED void shim_body_##kernel(void** arguments) { shim::Body<kernel>::run(arguments); }
