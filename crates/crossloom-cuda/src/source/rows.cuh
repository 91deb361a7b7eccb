// Rows that an index names.

// The token that names a row in the index of its sample, the last of several; `tokens` if none does. All lanes of a warp look, 32 tokens
// at a time. If `reports`, numbers below -1 or outside of the sample and rows that are named twice are reported, by position from `first` on.
template <u32 tokens, u32 rows>
DEVICE u64 token_of_row(const int* index, u32 row, bool reports, u64 first, u64* fault) {
  const u32 lane = threadIdx.x % 32;
  u64 token = tokens;
  for (u32 start = 0; start < tokens; start += 32) {
    const int at = start + lane < tokens ? index[start + lane] : -1;
    if (reports && row == 0 && (at < -1 || at >= (int)rows)) report(fault, first + start + lane, at);
    for (u32 hits = ballot(at == (int)row); hits; hits &= hits - 1) {
      const u32 hit = start + lowest_bit(hits);
      if (reports && token != tokens && lane == 0) report(fault, first + hit, row);
      token = hit;
    }
  }
  return token;
}
