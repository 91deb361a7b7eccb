"""Matrix products."""

from filetest import draw, write
from formulas import ACTS

a, b = draw(2, 2, 3), draw(2, 3, 4)
write("matmul",
      "A batched product, and the same with one operand or both given as their transpose.",
      """
      input %a "a": f32[2, 2, 3]
      input %b "b": f32[2, 3, 4]
      %at = transpose %a {perm = [0, 2, 1]} : f32[2, 3, 2]
      %bt = transpose %b {perm = [0, 2, 1]} : f32[2, 4, 3]
      %nn = matmul %a, %b : f32[2, 2, 4]
      %tn = matmul %at, %b {transpose_a = true} : f32[2, 2, 4]
      %nt = matmul %a, %bt {transpose_b = true} : f32[2, 2, 4]
      %tt = matmul %at, %bt {transpose_a = true, transpose_b = true} : f32[2, 2, 4]
      return "nn" = %nn
      return "tn" = %tn
      return "nt" = %nt
      return "tt" = %tt
      """,
      ({"a": a, "b": b}, {key: a @ b for key in ("nn", "tn", "nt", "tt")}))

x, w, bias, r = draw(2, 2, 3), draw(4, 3), draw(4), draw(2, 2, 4)
pre = x @ w.T + bias
write("linear",
      "Weights are [out, in]. With an activation the pre-activation is a second output; the residual is added last.",
      """
      input  %x "x": f32[2, 2, 3]
      weight %w "w": f32[4, 3]
      weight %b "b": f32[4]
      input  %r "r": f32[2, 2, 4]
      %plain = linear %x, %w : f32[2, 2, 4]
      %full, %pre = linear %x, %w, %b, %r {bias = true, act = quick_gelu, residual = true} : f32[2, 2, 4], f32[2, 2, 4]
      return "plain" = %plain
      return "full" = %full
      return "pre" = %pre
      """,
      ({"x": x, "w": w, "b": bias, "r": r},
       {"plain": x @ w.T, "full": ACTS["quick_gelu"](pre) + r, "pre": pre}))
