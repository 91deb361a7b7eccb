// One step of AdamW; where the gradient's scale is not finite, nothing changes.
// FLOPs: 17 per element. Bytes: 16 in, 12 out per element. Bound by memory: to be held against the bandwidth of a copy. In place over
// parameter and moments.
ENTRY(THREADS) KERNEL(const float* p, const float* g, const float* m, const float* v, const float* hyper, const float* scale,
                      float* new_p, float* new_m, float* new_v) {
  const u64 at = (u64)blockIdx.x * THREADS + threadIdx.x;
  if (at >= ELEMENTS) return;
  const float factor = scale[0], old = p[at];
  float first = m[at], second = v[at], next = old;
  if (is_finite(factor)) {
    const float gradient = g[at] * factor;
    first = BETA1 * first + REST1 * gradient;
    second = BETA2 * second + REST2 * gradient * gradient;
    const float step = first * hyper[1] / (sqrtf(second * hyper[2]) + EPS);
    next = old - hyper[0] * (step + DECAY * old);
  }
  new_p[at] = next;
  new_m[at] = first;
  new_v[at] = second;
}
