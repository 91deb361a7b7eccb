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

# A second parameter of another shape and group, without decay; the first is that of the case above.
q, h, n, t, slow = g[:2], p[:2], m[:2], s[:2], hyper * [0.5, 1, 1]
n1, t1 = beta1 * n + (1 - beta1) * clip * h, beta2 * t + (1 - beta2) * (clip * h) ** 2
q1 = q - slow[0] * (n1 * slow[1]) / (np.sqrt(t1 * slow[2]) + eps)
write("multi_adamw",
      "The same step of two parameters at once, each with its own shape, hyper-parameters and decay.",
      """
      weight %p "p": f32[3]
      input  %g "g": f32[3]
      state  %m "m": f32[3]
      state  %v "v": f32[3]
      input  %hyper "hyper": f32[3]
      weight %q "q": f32[2]
      input  %h "h": f32[2]
      state  %n "n": f32[2]
      state  %t "t": f32[2]
      input  %slow "slow": f32[3]
      input  %scale "scale": f32[]
      %p1, %m1, %v1, %q1, %n1, %t1 = multi_adamw %scale, %p, %g, %m, %v, %hyper, %q, %h, %n, %t, %slow {beta1 = 0.9, beta2 = 0.95, eps = 1e-8, weight_decay = [0.1, 0.0]} : f32[3], f32[3], f32[3], f32[2], f32[2], f32[2]
      update %p = %p1
      update %m = %m1
      update %v = %v1
      update %q = %q1
      update %n = %n1
      update %t = %t1
      """,
      ({"p": p, "g": g, "m": m, "v": s, "hyper": hyper, "q": q, "h": h, "n": n, "t": t, "slow": slow, "scale": clip},
       {"!p": p - lr * (mhat / (np.sqrt(shat) + eps) + decay * p), "!m": m1, "!v": s1, "!q": q1, "!n": n1, "!t": t1}))
