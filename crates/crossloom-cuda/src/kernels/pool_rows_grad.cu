// dx[g, n] = sum over h of p dpooled[g, h] + slope w[h]: one thread per element. FLOPs: 4 per element and head. Bytes: dx out; the rest
// from cache. Bound by memory with few heads.
ENTRY(THREADS) KERNEL(const dpooled_t* dpooled, const w_t* w, const float* probs, const float* slopes, dx_t* dx) {
  const u64 at = (u64)blockIdx.x * THREADS + threadIdx.x;
  if (at >= (u64)GROUPS * ROWS * WIDTH) return;
  const u32 c = at % WIDTH, n = at / WIDTH % ROWS;
  const u64 group = at / WIDTH / ROWS;
  float sum = 0.0f;
  for (u32 head = 0; head < HEADS; head++) {
    const u64 pair = group * HEADS + head;
    sum += probs[pair * ROWS + n] * load_one(dpooled + pair * WIDTH + c) + slopes[pair * ROWS + n] * load_one(w + head * WIDTH + c);
  }
  store_one(dx + at, sum);
}
