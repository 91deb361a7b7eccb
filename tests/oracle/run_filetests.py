"""Writes filetests whose expected numbers come from numpy, by formulas independent of the Rust code.

Run by hand after adding a case: `python tests/oracle/run_filetests.py` (needs numpy; the tests themselves do not).
Gradient ops are checked against central differences of the forward formula, taken here.
"""

import math
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1] / "filetests" / "run"
WIDTH = 110
rng = np.random.default_rng(7)


def draw(*shape):
    """Reals of two decimals, so that the files stay readable."""
    return np.round(rng.uniform(-1.5, 1.5, shape), 2)


def show(x):
    x = np.asarray(x, dtype=np.float64)
    if x.ndim == 0:
        text = np.format_float_positional(float(f"{float(x):.6e}"), trim="-")
        return "0" if text in ("-0", "0") else text
    return "[" + ", ".join(show(row) for row in x) + "]"


def line(prefix, x):
    x = np.asarray(x, dtype=np.float64)
    whole = show(x)
    if x.ndim == 0 or len(prefix) + len(whole) + 3 <= WIDTH:
        return f"; {prefix} {whole}\n"
    return f"; {prefix} [\n" + ",\n".join(f";   {show(row)}" for row in x) + "\n;   ]\n"


def write(name, prose, body, *cases, tolerance=None):
    """A file with a function body (parameters, instructions, results) and cases (arguments, results)."""
    out = "".join(f"; {text}\n" for text in prose.strip().splitlines()) + ";\n; test run\n"
    if tolerance:
        out += f"; tolerance {tolerance}\n"
    out += f"\nfunc @{name} {{\n"
    section = None
    for text in filter(None, map(str.strip, body.splitlines())):
        before, section = section, {"%": "code", "r": "result", "u": "result"}.get(text[0], "parameter")
        out += "\n" * (before not in (None, section)) + f"  {text}\n"
    out += "}\n"
    for arguments, results in cases:
        out += "\n"
        for key, value in arguments.items():
            out += line(f'with "{key}" =', value)
        for key, value in results.items():
            label = f'update "{key[1:]}"' if key.startswith("!") else f'"{key}"'
            out += line(f"gives {label} =", value)
    path = ROOT / f"{name}.cir"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(out)


def difference(f, x, step=1e-6):
    """Central differences of a scalar function."""
    x = np.array(x, dtype=np.float64)
    grad = np.zeros_like(x)
    for at in np.ndindex(x.shape):
        old = x[at]
        x[at] = old + step
        above = f(x)
        x[at] = old - step
        below = f(x)
        x[at] = old
        grad[at] = (above - below) / (2 * step)
    return grad


# ---------------------------------------------------------------- element by element

erf = np.vectorize(math.erf)
sigmoid = lambda x: 1 / (1 + np.exp(-x))
ACTS = {
    "gelu_tanh": lambda x: x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "gelu_erf": lambda x: x / 2 * (1 + erf(x / np.sqrt(2))),
    "quick_gelu": lambda x: x * sigmoid(1.702 * x),
    "silu": lambda x: x * sigmoid(x),
}

unary = {
    "log2": np.log2, "exp2": np.exp2, "sin": np.sin, "sqrt": np.sqrt, "recip": lambda x: 1 / x, "exp": np.exp,
    "log": np.log, "rsqrt": lambda x: 1 / np.sqrt(x), "tanh": np.tanh, "sigmoid": sigmoid,
}
x = np.array([0.25, 0.5, 1.0, 2.0, 9.0])
body = 'input %x "x": f32[5]\n' + "".join(f"%{op} = {op} %x : f32[5]\n" for op in unary)
body += "".join(f'return "{op}" = %{op}\n' for op in unary)
write("unary", "Element-wise functions of one operand.", body, ({"x": x}, {op: f(x) for op, f in unary.items()}))

x = np.array([-30.0, -3.0, -1.0, -0.1, 0.0, 0.1, 1.0, 3.0, 30.0])
body = 'input %x "x": f32[9]\n'
for act in ACTS:
    body += f"%{act} = {act} %x : f32[9]\n%{act}_grad = {act}_grad %x : f32[9]\n"
for act in ACTS:
    body += f'return "{act}" = %{act}\nreturn "{act}_grad" = %{act}_grad\n'
results = {}
for act, f in ACTS.items():
    results[act] = f(x)
    results[act + "_grad"] = difference(lambda z: f(z).sum(), x)
write("activations", "Activation functions and their derivatives; far out they are the identity or nothing.", body,
      ({"x": x}, results))

x, y = np.array([7.0, -7.0, 1.5, 2.0, 0.0]), np.array([3.0, 3.0, -0.5, 2.0, 4.0])
binary = {
    "add": x + y, "mul": x * y, "mod": np.fmod(x, y), "less_than": (x < y) * 1.0, "sub": x - y, "div": x / y,
    "min": np.minimum(x, y), "max": np.maximum(x, y),
}
body = 'input %x "x": f32[5]\ninput %y "y": f32[5]\n' + "".join(f"%{op} = {op} %x, %y : f32[5]\n" for op in binary)
body += "".join(f'return "{op}" = %{op}\n' for op in binary)
write("binary", "Element-wise functions of two operands. `mod` has the sign of the dividend, as in C.", body,
      ({"x": x, "y": y}, binary))

x, r, c, s = draw(2, 3), draw(3), draw(2), draw()
write("fused_elementwise",
      "A region reads full operands, one number per column (row), per row (column), or one for all (scalar).\n"
      "Numbers in its body count the operands first: step 4 is x * r, step 5 adds the column, and so on.",
      """
      input %x "x": f32[2, 3]
      input %r "row": f32[3]
      input %c "column": f32[2]
      input %s "scalar": f32[]
      %y, %z = fused_elementwise %x, %r, %c, %s {shape = [2, 3], loads = [full, row, column, scalar], body = [[mul, 0, 1], [add, 4, 2], [affine, 5, 2.0, -1.0], [silu, 6], [sub, 7, 3]], stores = [8, 5]} : f32[2, 3], f32[2, 3]
      return "y" = %y
      return "z" = %z
      """,
      ({"x": x, "row": r, "column": c, "scalar": s},
       {"y": ACTS["silu"](2 * (x * r + c[:, None]) - 1) - s, "z": x * r + c[:, None]}))

# ---------------------------------------------------------------- products

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

# ---------------------------------------------------------------- norms

EPS = 1e-5


def layer_norm(x, gamma, beta):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + EPS) * gamma + beta


def rms_norm(x, gamma):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + EPS) * gamma


x, r, gamma, beta = draw(2, 2, 4), draw(2, 2, 4), draw(4), draw(4)
mean, rstd = lambda x: x.mean(-1), lambda x: 1 / np.sqrt(x.var(-1) + EPS)
rms = lambda x: 1 / np.sqrt((x * x).mean(-1) + EPS)
write("layer_norm",
      "Layer norm of rows, with their mean and reciprocal standard deviation; alone and after a residual sum.",
      """
      input  %x "x": f32[2, 2, 4]
      input  %r "r": f32[2, 2, 4]
      weight %g "gamma": f32[4]
      weight %b "beta": f32[4]
      %y, %mean, %rstd = layer_norm %x, %g, %b {eps = 1e-5} : f32[2, 2, 4], f32[2, 2], f32[2, 2]
      %s, %sy, %smean, %srstd = add_layer_norm %x, %r, %g, %b {eps = 1e-5} : f32[2, 2, 4], f32[2, 2, 4], f32[2, 2], f32[2, 2]
      return "y" = %y
      return "mean" = %mean
      return "rstd" = %rstd
      return "s" = %s
      return "sy" = %sy
      return "smean" = %smean
      return "srstd" = %srstd
      """,
      ({"x": x, "r": r, "gamma": gamma, "beta": beta},
       {"y": layer_norm(x, gamma, beta), "mean": mean(x), "rstd": rstd(x), "s": x + r,
        "sy": layer_norm(x + r, gamma, beta), "smean": mean(x + r), "srstd": rstd(x + r)}))
write("rms_norm",
      "RMS norm of rows, with the reciprocal root mean square; alone and after a residual sum.",
      """
      input  %x "x": f32[2, 2, 4]
      input  %r "r": f32[2, 2, 4]
      weight %g "gamma": f32[4]
      %y, %rstd = rms_norm %x, %g {eps = 1e-5} : f32[2, 2, 4], f32[2, 2]
      %s, %sy, %srstd = add_rms_norm %x, %r, %g {eps = 1e-5} : f32[2, 2, 4], f32[2, 2, 4], f32[2, 2]
      return "y" = %y
      return "rstd" = %rstd
      return "s" = %s
      return "sy" = %sy
      return "srstd" = %srstd
      """,
      ({"x": x, "r": r, "gamma": gamma},
       {"y": rms_norm(x, gamma), "rstd": rms(x), "s": x + r, "sy": rms_norm(x + r, gamma), "srstd": rms(x + r)}))

dy, ds = draw(2, 2, 4), draw(2, 2, 4)
loss = lambda x, g, b: (layer_norm(x, g, b) * dy).sum()
dx = difference(lambda z: loss(z, gamma, beta), x)
write("layer_norm_grad",
      "Layer norm backwards, alone and with the gradient of the residual stream added to that of x.",
      """
      input  %dy "dy": f32[2, 2, 4]
      input  %x "x": f32[2, 2, 4]
      weight %g "gamma": f32[4]
      input  %ds "ds": f32[2, 2, 4]
      %zero = constant {value = 0.0, shape = [4]} : f32[4]
      %y, %mean, %rstd = layer_norm %x, %g, %zero {eps = 1e-5} : f32[2, 2, 4], f32[2, 2], f32[2, 2]
      %dx, %dgamma, %dbeta = layer_norm_grad %dy, %x, %g, %mean, %rstd : f32[2, 2, 4], f32[4], f32[4]
      %rdx, %rdgamma, %rdbeta = layer_norm_grad %dy, %x, %g, %mean, %rstd, %ds {residual = true} : f32[2, 2, 4], f32[4], f32[4]
      return "dx" = %dx
      return "dgamma" = %dgamma
      return "dbeta" = %dbeta
      return "rdx" = %rdx
      return "rdgamma" = %rdgamma
      return "rdbeta" = %rdbeta
      """,
      ({"dy": dy, "x": x, "gamma": gamma, "ds": ds},
       {"dx": dx, "dgamma": difference(lambda z: loss(x, z, beta), gamma), "dbeta": dy.sum((0, 1)), "rdx": dx + ds,
        "rdgamma": difference(lambda z: loss(x, z, beta), gamma), "rdbeta": dy.sum((0, 1))}))
loss = lambda x, g: (rms_norm(x, g) * dy).sum()
dx, dgamma = difference(lambda z: loss(z, gamma), x), difference(lambda z: loss(x, z), gamma)
write("rms_norm_grad",
      "RMS norm backwards, alone and with the gradient of the residual stream added to that of x.",
      """
      input  %dy "dy": f32[2, 2, 4]
      input  %x "x": f32[2, 2, 4]
      weight %g "gamma": f32[4]
      input  %ds "ds": f32[2, 2, 4]
      %y, %rstd = rms_norm %x, %g {eps = 1e-5} : f32[2, 2, 4], f32[2, 2]
      %dx, %dgamma = rms_norm_grad %dy, %x, %g, %rstd : f32[2, 2, 4], f32[4]
      %rdx, %rdgamma = rms_norm_grad %dy, %x, %g, %rstd, %ds {residual = true} : f32[2, 2, 4], f32[4]
      return "dx" = %dx
      return "dgamma" = %dgamma
      return "rdx" = %rdx
      return "rdgamma" = %rdgamma
      """,
      ({"dy": dy, "x": x, "gamma": gamma, "ds": ds},
       {"dx": dx, "dgamma": dgamma, "rdx": dx + ds, "rdgamma": dgamma}))

# ---------------------------------------------------------------- attention


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


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

# ---------------------------------------------------------------- rows and loss

x = np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0], [1000.0, 999.0, -1000.0]])
write("softmax", "Rows become probabilities, without overflow.",
      """
      input %x "x": f32[3, 3]
      %y = softmax %x : f32[3, 3]
      return "y" = %y
      """,
      ({"x": x}, {"y": softmax(x)}))

logits, targets = draw(4, 3), np.array([2, -1, 0, 1])


def cross_entropy(logits, targets):
    kept = [-np.log(softmax(row)[t]) for row, t in zip(logits, targets) if t >= 0]
    return sum(kept) / max(len(kept), 1)


body = """
      input %x "logits": f32[4, 3]
      input %t "targets": i32[4]
      input %d "dloss": f32[]
      %loss, %lse = cross_entropy %x, %t : f32[], f32[4]
      %dx = cross_entropy_grad %d, %x, %t, %lse : f32[4, 3]
      return "loss" = %loss
      return "lse" = %lse
      return "dlogits" = %dx
      """
lse = np.log(np.exp(logits).sum(-1))
none = np.array([-1, -1, -1, -1])
write("cross_entropy",
      "The mean over the rows whose target is not -1, and its gradient; with no such row both are zero.", body,
      ({"logits": logits, "targets": targets, "dloss": 2.0},
       {"loss": cross_entropy(logits, targets), "lse": lse,
        "dlogits": difference(lambda z: 2 * cross_entropy(z, targets), logits)}),
      ({"logits": logits, "targets": none, "dloss": 2.0}, {"loss": 0.0, "lse": lse, "dlogits": np.zeros((4, 3))}))

# ---------------------------------------------------------------- injection


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

# ---------------------------------------------------------------- optimizer

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
