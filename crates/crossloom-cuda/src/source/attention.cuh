// What the kernels of attention share.

// Where the queries of a sequence stand: the sequence of the keys, the position of the first query, and how many queries are real.
struct Place {
  u64 sequence;
  u32 offset, count;
};

// The places of one call on a cache of `slots` sequences of room for `capacity` positions, with up to `tokens` new ones. What does not
// fit is reported, by position among the slots, then the starts, then the counts, and counts as a sequence without queries.
DEVICE Place place_of(const int* slot, const int* start, const int* count, u32 row, u32 rows, u32 slots, u32 capacity, u32 tokens,
                      u64* fault) {
  const int s = slot[row], first = start[row], n = count[row];
  const bool inside = s >= 0 && s < slots, begins = first >= 0 && first <= capacity;
  const bool counted = n >= 0 && n <= tokens && (!begins || n <= capacity - first);
  if (!inside) report(fault, row, s);
  else if (!begins) report(fault, rows + row, first);
  else if (!counted) report(fault, 2 * rows + row, n);
  const bool fits = inside && begins && counted;
  const Place place = {fits ? (u64)s : 0, fits ? (u32)first : 0, fits ? (u32)n : 0};
  return place;
}

// The rule of segments, of positions of one sequence: all see their own and those of segment 0, and nobody sees or is -1 but itself.
DEVICE bool may_see(const int* segments, u32 position, u32 key) {
  const int mine = segments[position], other = segments[key];
  return key == position || (mine != -1 && other != -1 && (other == 0 || other == mine));
}

// The rows of one head from [.., rows, heads, width] into shared memory as floats, one float apart from row to row; zeros behind the
// last. 32 rows, by a block of 128.
template <u32 width, class T>
DEVICE void load_head(float* to, const T* from, u64 start, u32 heads, u32 head, u32 first, u32 rows) {
  for (u32 i = threadIdx.x; i < 32 * width; i += 128) {
    const u32 row = first + i / width;
    to[i / width * (width + 1) + i % width] =
        row < rows ? load_one(from + ((start + row) * heads + head) * width + i % width) : 0.0f;
  }
}
