"""AdamW."""

import numpy as np

from filetest import draw, write

p, g, m, s = draw(3), draw(3), draw(3), np.abs(draw(3))
lr, step, beta1, beta2, eps, decay, clip = 0.01, 3, 0.9, 0.95, 1e-8, 0.1, 0.5
m1, s1 = beta1 * m + (1 - beta1) * clip * g, beta2 * s + (1 - beta2) * (clip * g) ** 2
mhat, shat = m1 / (1 - beta1**step), s1 / (1 - beta2**step)
hyper = np.array([lr, 1 / (1 - beta1**step), 1 / (1 - beta2**step)])
write("adamw",
      "The third step of AdamW on a clipped gradient; weights and moments are updated.",
      """
      weight %p "p": f32[3]
      input  %g "g": f32[3]
      state  %m "m": f32[3]
      state  %v "v": f32[3]
      input  %hyper "hyper": f32[3]
      input  %scale "scale": f32[]
      %p1, %m1, %v1 = adamw %p, %g, %m, %v, %hyper, %scale {beta1 = 0.9, beta2 = 0.95, eps = 1e-8, weight_decay = 0.1} : f32[3], f32[3], f32[3]
      update %p = %p1
      update %m = %m1
      update %v = %v1
      """,
      ({"p": p, "g": g, "m": m, "v": s, "hyper": hyper, "scale": clip},
       {"!p": p - lr * (mhat / (np.sqrt(shat) + eps) + decay * p), "!m": m1, "!v": s1}))
