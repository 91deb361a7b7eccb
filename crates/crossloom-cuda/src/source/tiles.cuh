// What kernels on tensor cores are made of: tiles in shared memory, fragments of them in registers, products and reductions of rows.
// Whatever computes products by other instructions (wgmma, copies by descriptor) replaces what is in this file.
//
// A tile has lines of `width` numbers of bf16 with 8 more between them, so that no two rows of a fragment lie in the same banks.
// A product is of A, 16 rows m by 16 along k, and B, 16 columns n by 16 along k. Sums of rows and columns lie in registers as the
// instruction `m16n8k16` has them: lane `4 g + t` holds rows g and g + 8, and columns 2 t and 2 t + 1 of every 8.

#define TILE_LINE(width) ((width) + 8)

// Lines from `line` on, and their numbers from `start` on, of a matrix whose lines are `step` numbers apart, into a tile; zeros from
// `lines_end` and `end` on. Copies may be under way until `copy_wait`. By `threads` threads, all of a block.
template <u32 lines, u32 width, u32 threads>
DEVICE void load_tile(Bf16* to, const Bf16* from, u64 step, u64 line, u64 lines_end, u32 start, u32 end) {
  for (u32 i = threadIdx.x; i < lines * (width / 8); i += threads) {
    const u32 l = i / (width / 8), piece = i % (width / 8) * 8;
    Bf16* place = to + l * TILE_LINE(width) + piece;
    const bool inside = line + l < lines_end;
    const Bf16* at = from + (line + l) * step + start + piece;
    if (inside && start + piece + 8 <= end && ((u64)at & 15) == 0) {
      copy_async(place, at);
    } else {
      Pack<Bf16, 8> pack;
      UNROLL
      for (u32 j = 0; j < 8; j++) pack.at[j].bits = inside && start + piece + j < end ? at[j].bits : (u16)0;
      *(Pack<Bf16, 8>*)place = pack;
    }
  }
}

// A from a tile whose lines are rows, or, transposed, steps along k.
template <bool transposed, u32 width>
DEVICE void load_a(u32 (&a)[4], const Bf16* tile, u32 m, u32 k) {
  const u32 r = threadIdx.x % 8, low = threadIdx.x / 8 % 2 * 8, high = threadIdx.x / 16 % 2 * 8;
  if (transposed) ldmatrix_transposed(a, tile + (k + high + r) * TILE_LINE(width) + m + low);
  else ldmatrix(a, tile + (m + low + r) * TILE_LINE(width) + k + high);
}
// B from a tile whose lines are columns of the product, or, transposed, steps along k: the first 8 columns, then the others.
template <bool transposed, u32 width>
DEVICE void load_b(u32 (&b)[4], const Bf16* tile, u32 n, u32 k) {
  const u32 r = threadIdx.x % 8, low = threadIdx.x / 8 % 2 * 8, high = threadIdx.x / 16 % 2 * 8;
  if (transposed) ldmatrix_transposed(b, tile + (k + low + r) * TILE_LINE(width) + n + high);
  else ldmatrix(b, tile + (n + high + r) * TILE_LINE(width) + k + low);
}
// A from the sums of 16 columns, which become steps along k.
DEVICE void pack_a(u32 (&a)[4], const float (&first)[4], const float (&second)[4]) {
  a[0] = pack_bf16(first[0], first[1]);
  a[1] = pack_bf16(first[2], first[3]);
  a[2] = pack_bf16(second[0], second[1]);
  a[3] = pack_bf16(second[2], second[3]);
}
// The sums of 16 rows and 16 columns go on.
DEVICE void multiply(float (&first)[4], float (&second)[4], const u32 (&a)[4], const u32 (&b)[4]) {
  mma_bf16(first, a, b[0], b[1]);
  mma_bf16(second, a, b[2], b[3]);
}

// The row and column of a thread's sum `e` of four, within 16 rows and 8 columns.
DEVICE u32 row_of(u32 e) { return threadIdx.x % 32 / 4 + e / 2 * 8; }
DEVICE u32 column_of(u32 e) { return threadIdx.x % 4 * 2 + e % 2; }

// Over the four threads that hold a row.
DEVICE float row_sum(float x) {
  x += shuffle_xor(x, 1);
  return x + shuffle_xor(x, 2);
}
DEVICE float row_max(float x) {
  x = larger(x, shuffle_xor(x, 1));
  return larger(x, shuffle_xor(x, 2));
}
