"""Attention and rotary positions."""

import numpy as np

from filetest import difference, draw, write


def attention(q, k, v, heads, kv_heads, scale, allowed):
    """Head by head, query by query; `allowed[b][t]` lists the keys that a query sees."""
    batch, queries, width = q.shape
    hd = width // heads
    o, lse = np.zeros_like(q), np.zeros((batch, heads, queries))
    for b in range(batch):
        for h in range(heads):
            kv = h * kv_heads // heads
            for t in range(queries):
                keys = allowed[b][t]
                scores = np.array([scale * q[b, t, h * hd:(h + 1) * hd] @ k[b, s, kv * hd:(kv + 1) * hd] for s in keys])
                lse[b, h, t] = np.log(np.exp(scores).sum())
                p = np.exp(scores - lse[b, h, t])
                o[b, t, h * hd:(h + 1) * hd] = sum(p_s * v[b, s, kv * hd:(kv + 1) * hd] for p_s, s in zip(p, keys))
    return o, lse


full = lambda batch, tq, tk: [[list(range(tk)) for _ in range(tq)] for _ in range(batch)]
causal = lambda batch, tq, tk: [[list(range(tk - tq + t + 1)) for t in range(tq)] for _ in range(batch)]


def packed(segments, is_causal):
    allowed = []
    for row in segments:
        length = len(row)
        allowed.append([[s for s in range(length)
                         if (s <= t or not is_causal) and (s == t if -1 in (row[s], row[t]) else row[s] in (0, row[t]))]
                        for t in range(length)])
    return allowed


q, k, v = draw(1, 2, 8), draw(1, 3, 4), draw(1, 3, 4)
o1, l1 = attention(q, k, v, 4, 2, 0.7, full(1, 2, 3))
o2, l2 = attention(q, k, v, 4, 2, 0.7, causal(1, 2, 3))
write("attention",
      "Four query heads share two key heads. Causal with fewer queries than keys: the last query sees the last key.",
      """
      input %q "q": f32[1, 2, 8]
      input %k "k": f32[1, 3, 4]
      input %v "v": f32[1, 3, 4]
      %full, %full_lse = attention %q, %k, %v {heads = 4, kv_heads = 2, scale = 0.7} : f32[1, 2, 8], f32[1, 4, 2]
      %causal, %causal_lse = attention %q, %k, %v {heads = 4, kv_heads = 2, causal = true, scale = 0.7} : f32[1, 2, 8], f32[1, 4, 2]
      return "full" = %full
      return "full_lse" = %full_lse
      return "causal" = %causal
      return "causal_lse" = %causal_lse
      """,
      ({"q": q, "k": k, "v": v}, {"full": o1, "full_lse": l1, "causal": o2, "causal_lse": l2}))

segments = np.array([[0, 0, 1, 1, 2, -1]])
q, k, v = draw(1, 6, 2), draw(1, 6, 2), draw(1, 6, 2)
o1, l1 = attention(q, k, v, 1, 1, 1.0, packed(segments, True))
o2, l2 = attention(q, k, v, 1, 1, 1.0, packed(segments, False))
write("attention_segments",
      "A packed sequence: two image positions (segment 0), which all see; two questions, which do not see each other;\n"
      "padding (-1), which sees only itself and which nobody else sees.",
      """
      input %q "q": f32[1, 6, 2]
      input %k "k": f32[1, 6, 2]
      input %v "v": f32[1, 6, 2]
      input %s "segments": i32[1, 6]
      %causal, %causal_lse = attention %q, %k, %v, %s {heads = 1, kv_heads = 1, causal = true, segments = true, scale = 1.0} : f32[1, 6, 2], f32[1, 1, 6]
      %full, %full_lse = attention %q, %k, %v, %s {heads = 1, kv_heads = 1, segments = true, scale = 1.0} : f32[1, 6, 2], f32[1, 1, 6]
      return "causal" = %causal
      return "causal_lse" = %causal_lse
      return "full" = %full
      return "full_lse" = %full_lse
      """,
      ({"q": q, "k": k, "v": v, "segments": segments},
       {"causal": o1, "causal_lse": l1, "full": o2, "full_lse": l2}))

segments = np.array([[0, 1, 1, 2]])
q, k, v, do = draw(1, 4, 4), draw(1, 4, 2), draw(1, 4, 2), draw(1, 4, 4)
loss = lambda q, k, v: (attention(q, k, v, 2, 1, 0.5, packed(segments, True))[0] * do).sum()
write("attention_grad",
      "Attention backwards, with grouped keys and segments.",
      """
      input %do "do": f32[1, 4, 4]
      input %q "q": f32[1, 4, 4]
      input %k "k": f32[1, 4, 2]
      input %v "v": f32[1, 4, 2]
      input %s "segments": i32[1, 4]
      %o, %lse = attention %q, %k, %v, %s {heads = 2, kv_heads = 1, causal = true, segments = true, scale = 0.5} : f32[1, 4, 4], f32[1, 2, 4]
      %dq, %dk, %dv = attention_grad %do, %q, %k, %v, %o, %lse, %s {heads = 2, kv_heads = 1, causal = true, segments = true, scale = 0.5} : f32[1, 4, 4], f32[1, 4, 2], f32[1, 4, 2]
      return "dq" = %dq
      return "dk" = %dk
      return "dv" = %dv
      """,
      ({"do": do, "q": q, "k": k, "v": v, "segments": segments},
       {"dq": difference(lambda z: loss(z, k, v), q), "dk": difference(lambda z: loss(q, z, v), k),
        "dv": difference(lambda z: loss(q, k, z), v)}))

x, positions = draw(1, 3, 8), np.array([[0, 1, 5]])


def rope(x, positions, hd, theta, sign):
    """Pairs (i, i + hd/2) as complex numbers, turned."""
    y = np.array(x)
    for b, t in np.ndindex(positions.shape):
        for head in range(x.shape[2] // hd):
            for i in range(hd // 2):
                re, im = head * hd + i, head * hd + i + hd // 2
                z = complex(x[b, t, re], x[b, t, im]) * np.exp(1j * sign * positions[b, t] * theta ** (-2 * i / hd))
                y[b, t, re], y[b, t, im] = z.real, z.imag
    return y


write("rope",
      "Rotary positions turn the pairs (i, i + 2) of every head; position 0 turns nothing, the inverse turns back.",
      """
      input %x "x": f32[1, 3, 8]
      input %p "positions": i32[1, 3]
      %y = rope %x, %p {head_dim = 4, theta = 100.0} : f32[1, 3, 8]
      %z = rope %x, %p {head_dim = 4, theta = 100.0, inverse = true} : f32[1, 3, 8]
      %back = rope %y, %p {head_dim = 4, theta = 100.0, inverse = true} : f32[1, 3, 8]
      return "y" = %y
      return "z" = %z
      return "back" = %back
      """,
      ({"x": x, "positions": positions},
       {"y": rope(x, positions, 4, 100.0, 1), "z": rope(x, positions, 4, 100.0, -1), "back": x}))
