"""Ops that work element by element."""

import numpy as np

from filetest import difference, draw, write
from formulas import ACTS, sigmoid

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
