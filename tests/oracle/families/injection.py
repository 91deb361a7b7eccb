"""What an injection is made of: pools, projectors, gates, the update."""

import numpy as np

from filetest import difference, draw, write
from formulas import ACTS, sigmoid, softmax


def attn_pool(x, w, scale, mask):
    groups, heads = x.shape[0], w.shape[0]
    pooled, probs = np.zeros((groups, heads, x.shape[2])), np.zeros((groups, heads, x.shape[1]))
    for g, h in np.ndindex(groups, heads):
        rows = [n for n in range(x.shape[1]) if mask[g, n] != 0]
        if rows:
            p = softmax(np.array([scale * x[g, n] @ w[h] for n in rows]))
            probs[g, h, rows] = p
            pooled[g, h] = sum(p_n * x[g, n] for p_n, n in zip(p, rows))
    return pooled, probs


x, w, mask, dp = draw(2, 3, 4), draw(2, 4), np.array([[1, 0, 1], [0, 0, 0]]), draw(2, 2, 4)
p1, q1 = attn_pool(x, w, 0.5, np.ones((2, 3)))
p2, q2 = attn_pool(x, w, 0.5, mask)
loss = lambda x, w: (attn_pool(x, w, 0.5, np.ones((2, 3)))[0] * dp).sum()
write("attn_pool",
      "Two queries pool the rows of every group; masked rows are left out, a group without rows pools to zero.",
      """
      input  %x "x": f32[2, 3, 4]
      weight %w "w": f32[2, 4]
      input  %m "mask": f32[2, 3]
      input  %d "dpooled": f32[2, 2, 4]
      %pooled, %probs = attn_pool %x, %w {scale = 0.5} : f32[2, 2, 4], f32[2, 2, 3]
      %mpooled, %mprobs = attn_pool %x, %w, %m {scale = 0.5, masked = true} : f32[2, 2, 4], f32[2, 2, 3]
      %dx, %dw = attn_pool_grad %d, %x, %w, %probs {scale = 0.5} : f32[2, 3, 4], f32[2, 4]
      return "pooled" = %pooled
      return "probs" = %probs
      return "masked pooled" = %mpooled
      return "masked probs" = %mprobs
      return "dx" = %dx
      return "dw" = %dw
      """,
      ({"x": x, "w": w, "mask": mask, "dpooled": dp},
       {"pooled": p1, "probs": q1, "masked pooled": p2, "masked probs": q2,
        "dx": difference(lambda z: loss(z, w), x), "dw": difference(lambda z: loss(x, z), w)}))

silu, quick = ACTS["silu"], ACTS["quick_gelu"]
x1, x2 = draw(1, 2, 3), draw(1, 2, 3)
w1, b1, w2, b2 = draw(4, 3), draw(4), draw(2, 4), draw(2)
a1, B1, a2, B2 = draw(1, 3), draw(2, 1), draw(2, 3), draw(2, 2)
mlp = lambda x: quick(x @ w1.T + b1) @ w2.T + b2
write("amp_project",
      "One projector for both taps; tap 1 has a branch of rank 1, tap 2 one of rank 2, beside the whole projector.",
      """
      input  %x1 "x1": f32[1, 2, 3]
      input  %x2 "x2": f32[1, 2, 3]
      weight %w1 "w1": f32[4, 3]
      weight %b1 "b1": f32[4]
      weight %w2 "w2": f32[2, 4]
      weight %b2 "b2": f32[2]
      weight %a1 "tap1.a": f32[1, 3]
      weight %c1 "tap1.b": f32[2, 1]
      weight %a2 "tap2.a": f32[2, 3]
      weight %c2 "tap2.b": f32[2, 2]
      %plain = amp_project %x1, %x2, %w1, %b1, %w2, %b2 {taps = 2, act = quick_gelu, scale = 0.5, bias = true, attach = none} : f32[2, 1, 2, 2]
      %v = amp_project %x1, %x2, %w1, %b1, %w2, %b2, %a1, %c1, %a2, %c2 {taps = 2, act = quick_gelu, scale = 0.5, bias = true, attach = parallel} : f32[2, 1, 2, 2]
      return "plain" = %plain
      return "v" = %v
      """,
      ({"x1": x1, "x2": x2, "w1": w1, "b1": b1, "w2": w2, "b2": b2, "tap1.a": a1, "tap1.b": B1, "tap2.a": a2,
        "tap2.b": B2},
       {"plain": np.stack([mlp(x1), mlp(x2)]),
        "v": np.stack([mlp(x1) + 0.5 * x1 @ (B1 @ a1).T, mlp(x2) + 0.5 * x2 @ (B2 @ a2).T])}))
A1, B1, A2, B2 = draw(1, 3), draw(4, 1), draw(1, 4), draw(2, 1)
write("amp_project_per_linear",
      "The branches beside each linear layer are as if B A, scaled, were added to its weight.",
      """
      input  %x "x": f32[1, 2, 3]
      weight %w1 "w1": f32[4, 3]
      weight %w2 "w2": f32[2, 4]
      weight %a1 "a1": f32[1, 3]
      weight %c1 "b1": f32[4, 1]
      weight %a2 "a2": f32[1, 4]
      weight %c2 "b2": f32[2, 1]
      %v = amp_project %x, %w1, %w2, %a1, %c1, %a2, %c2 {taps = 1, act = silu, scale = 2.0, attach = per_linear} : f32[1, 1, 2, 2]
      return "v" = %v
      """,
      ({"x": x1, "w1": w1, "w2": w2, "a1": A1, "b1": B1, "a2": A2, "b2": B2},
       {"v": (silu(x1 @ (w1 + 2 * B1 @ A1).T) @ (w2 + 2 * B2 @ A2).T)[None]}))


def read_rows(query, rows, heads, weights):
    """What one query reads from rows by multi-head attention, every row projected."""
    d = len(query)
    if weights is None:
        return softmax(rows @ query / np.sqrt(d)) @ rows
    wq, bq, wk, wv, bv, wo, bo = weights
    q, k, v = wq @ query + bq, rows @ wk.T, rows @ wv.T + bv
    hd = d // heads
    parts = []
    for h in range(heads):
        cut = slice(h * hd, (h + 1) * hd)
        parts.append(softmax(k[:, cut] @ q[cut] / np.sqrt(hd)) @ v[:, cut])
    return wo @ np.concatenate(parts) + bo


def agf_gate(h, v, mask, qv, qh, heads, vision, hidden, cw, cb):
    samples, taps = h.shape[0], v.shape[0]
    gate = np.zeros((samples, taps, len(cb)))
    for b, k in np.ndindex(samples, taps):
        rows = h[b][mask[b] != 0]
        both = np.concatenate([read_rows(qv, v[k, b], heads, vision), read_rows(qh, rows, heads, hidden)])
        gate[b, k] = sigmoid(cw @ both + cb)
    return gate


d = 4
h, v, mask, qv, qh = draw(2, 3, d), draw(2, 2, 2, d), np.array([[1, 1, 0], [0, 1, 1]]), draw(d), draw(d)
cw, cb = draw(1, 2 * d), draw(1)
weights = lambda: (draw(d, d), draw(d), draw(d, d), draw(d, d), draw(d), draw(d, d), draw(d))
shared = weights()
names = ["wq", "bq", "wk", "wv", "bv", "wo", "bo"]
kinds = {"w": "f32[4, 4]", "b": "f32[4]"}
head = """
      input  %h "h": f32[2, 3, 4]
      input  %v "v": f32[2, 2, 2, 4]
      input  %m "pool_mask": f32[2, 3]
      weight %qv "query_vision": f32[4]
      weight %qh "query_hidden": f32[4]
"""
base = {"h": h, "v": v, "pool_mask": mask, "query_vision": qv, "query_hidden": qh}
write("agf_gate",
      "Without projections the queries meet the rows themselves; the gate is one number per sample and tap.",
      head + """
      weight %cw "controller_w": f32[1, 8]
      weight %cb "controller_b": f32[1]
      %gate = agf_gate %h, %v, %m, %qv, %qh, %cw, %cb {heads = 1, attention = none} : f32[2, 2]
      return "gate" = %gate
      """,
      ({**base, "controller_w": cw, "controller_b": cb},
       {"gate": agf_gate(h, v, mask, qv, qh, 1, None, None, cw, cb)[:, :, 0]}))
write("agf_gate_shared",
      "Two heads, the same projections for vision and hidden state.",
      head + "".join(f'weight %{n} "{n}": {kinds[n[0]]}\n' for n in names) + """
      weight %cw "controller_w": f32[1, 8]
      weight %cb "controller_b": f32[1]
      %gate = agf_gate %h, %v, %m, %qv, %qh, %wq, %bq, %wk, %wv, %bv, %wo, %bo, %cw, %cb {heads = 2, attention = shared} : f32[2, 2]
      return "gate" = %gate
      """,
      ({**base, **dict(zip(names, shared)), "controller_w": cw, "controller_b": cb},
       {"gate": agf_gate(h, v, mask, qv, qh, 2, shared, shared, cw, cb)[:, :, 0]}))
vision, hidden = weights(), weights()
cw, cb = draw(d, 2 * d), draw(d)
both = [f"v.{n}" for n in names] + [f"h.{n}" for n in names]
write("agf_gate_separate",
      "Projections of their own for vision (v) and hidden state (h), and one gate per channel.",
      head + "".join(f'weight %{n} "{n}": {kinds[n[2]]}\n' for n in both) + f"""
      weight %cw "controller_w": f32[4, 8]
      weight %cb "controller_b": f32[4]
      %gate = agf_gate %h, %v, %m, %qv, %qh, {", ".join("%" + n for n in both)}, %cw, %cb {{heads = 2, attention = separate, channel = true}} : f32[2, 2, 4]
      return "gate" = %gate
      """,
      ({**base, **dict(zip(both, vision + hidden)), "controller_w": cw, "controller_b": cb},
       {"gate": agf_gate(h, v, mask, qv, qh, 2, vision, hidden, cw, cb)}))


def agf_inject(h, gate, v, index, convex):
    out = np.array(h)
    for b, n in np.ndindex(index.shape):
        t = index[b, n]
        if t >= 0:
            for k in range(v.shape[0]):
                out[b, t] += gate[b, k] * (v[k, b, n] - (h[b, t] if convex else 0))
    return out


h, gate, channel_gate, v = draw(2, 4, 3), draw(2, 2), draw(2, 2, 3), draw(2, 2, 2, 3)
index = np.array([[0, 2], [3, -1]])
write("agf_inject",
      "Only the rows in the index change; -1 is no row. Residual adds, convex blends; gates per tap or per channel.",
      """
      input %h "h": f32[2, 4, 3]
      input %g "gate": f32[2, 2]
      input %c "channel_gate": f32[2, 2, 3]
      input %v "v": f32[2, 2, 2, 3]
      input %i "index": i32[2, 2]
      %residual = agf_inject %h, %g, %v, %i : f32[2, 4, 3]
      %convex = agf_inject %h, %g, %v, %i {convex = true} : f32[2, 4, 3]
      %channel = agf_inject %h, %c, %v, %i {channel = true} : f32[2, 4, 3]
      %both = agf_inject %h, %c, %v, %i {convex = true, channel = true} : f32[2, 4, 3]
      return "residual" = %residual
      return "convex" = %convex
      return "channel" = %channel
      return "both" = %both
      """,
      ({"h": h, "gate": gate, "channel_gate": channel_gate, "v": v, "index": index},
       {"residual": agf_inject(h, gate[:, :, None], v, index, False),
        "convex": agf_inject(h, gate[:, :, None], v, index, True),
        "channel": agf_inject(h, channel_gate, v, index, False),
        "both": agf_inject(h, channel_gate, v, index, True)}))

dh = draw(2, 4, 3)
residual = lambda g, v: (agf_inject(h, g[:, :, None], v, index, False) * dh).sum()
convex = lambda h, g, v: (agf_inject(h, g, v, index, True) * dh).sum()
write("agf_inject_grad",
      "The gated update backwards: residual with a gate per tap, convex with one per channel.",
      """
      input %dh "dh'": f32[2, 4, 3]
      input %g "gate": f32[2, 2]
      input %c "channel_gate": f32[2, 2, 3]
      input %v "v": f32[2, 2, 2, 3]
      input %i "index": i32[2, 2]
      input %h "h": f32[2, 4, 3]
      %rdv, %rdgate = agf_inject_grad %dh, %g, %v, %i : f32[2, 2, 2, 3], f32[2, 2]
      %cdv, %cdgate, %cdh = agf_inject_grad %dh, %c, %v, %i, %h {convex = true, channel = true} : f32[2, 2, 2, 3], f32[2, 2, 3], f32[2, 4, 3]
      return "residual dv" = %rdv
      return "residual dgate" = %rdgate
      return "convex dv" = %cdv
      return "convex dgate" = %cdgate
      return "convex dh" = %cdh
      """,
      ({"dh'": dh, "gate": gate, "channel_gate": channel_gate, "v": v, "index": index, "h": h},
       {"residual dv": difference(lambda z: residual(gate, z), v),
        "residual dgate": difference(lambda z: residual(z, v), gate),
        "convex dv": difference(lambda z: convex(h, channel_gate, z), v),
        "convex dgate": difference(lambda z: convex(h, z, v), channel_gate),
        "convex dh": difference(lambda z: convex(z, channel_gate, v), h)}))
