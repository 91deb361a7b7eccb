"""Rows and loss."""

import numpy as np

from filetest import difference, draw, write
from formulas import softmax

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
