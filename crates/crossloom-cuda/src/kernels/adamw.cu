// One step of AdamW of all parameters, CHUNK elements of one of them per block; where the gradient's scale is not finite, nothing
// changes. `table` is eight addresses per parameter: p, g, m, v, its hyper-parameters, and the places of the new p, m, v.
// FLOPs: 17 per element. Bytes: 16 in, 12 out per element. Bound by memory: to be held against the bandwidth of a copy. In place over
// parameter and moments: a thread reads an element before it writes the same one, and nobody else reads it.
TABLE(u32, KERNEL_first) = {FIRST_BLOCKS};
TABLE(u32, KERNEL_elements) = {ELEMENTS};
TABLE(float, KERNEL_decay) = {DECAYS};
ENTRY(THREADS) KERNEL(const u64* table, const float* scale) {
  const u32 parameter = part_of<PARAMETERS>(KERNEL_first, blockIdx.x), elements = KERNEL_elements[parameter];
  const u64* at = table + 8 * parameter;
  const float *p = (const float*)at[0], *g = (const float*)at[1], *m = (const float*)at[2], *v = (const float*)at[3];
  const float* hyper = (const float*)at[4];
  float *new_p = (float*)at[5], *new_m = (float*)at[6], *new_v = (float*)at[7];
  const float factor = scale[0], rate = hyper[0], correction1 = hyper[1], correction2 = hyper[2];
  const float decay = KERNEL_decay[parameter];
  const bool finite = is_finite(factor);
  const u64 first = (u64)(blockIdx.x - KERNEL_first[parameter]) * CHUNK;
  for (u32 i = threadIdx.x * 4; i < CHUNK; i += THREADS * 4) {
    const u64 start = first + i;
    if (start >= elements) return;
    const u32 left = elements - start < 4 ? elements - start : 4;
    Numbers<4> ps, gs, ms, vs;
    if (left == 4) {
      ps = load<4>(p + start), gs = load<4>(g + start), ms = load<4>(m + start), vs = load<4>(v + start);
    } else {
      for (u32 j = 0; j < left; j++) ps.at[j] = p[start + j], gs.at[j] = g[start + j], ms.at[j] = m[start + j], vs.at[j] = v[start + j];
    }
    if (finite) {
      UNROLL
      for (u32 j = 0; j < 4; j++) {
        const float gradient = gs.at[j] * factor, old = ps.at[j];
        ms.at[j] = BETA1 * ms.at[j] + REST1 * gradient;
        vs.at[j] = BETA2 * vs.at[j] + REST2 * gradient * gradient;
        const float step = ms.at[j] * correction1 / (sqrtf(vs.at[j] * correction2) + EPS);
        ps.at[j] = old - rate * (step + decay * old);
      }
    }
    if (left == 4) {
      store(new_p + start, ps), store(new_m + start, ms), store(new_v + start, vs);
    } else {
      for (u32 j = 0; j < left; j++) new_p[start + j] = ps.at[j], new_m[start + j] = ms.at[j], new_v[start + j] = vs.at[j];
    }
  }
}
