"""Tokens that are mixed of rows."""

import numpy as np

from filetest import difference, draw, write

features, end, dy = draw(2, 3, 2), draw(2), draw(2, 2, 2, 2)
rows = np.array([[[2, 0], [0, 1]], [[3, 1], [1, 1]]])
weights = np.array([[[1.0, 0.0], [0.25, 0.75]], [[1.0, 0.5], [0.5, -2.0]]])


def mixed(features, end):
    """Row 3 is the end, of both taps."""
    table = np.concatenate([features, np.broadcast_to(end, (2, 1, 2))], axis=1)
    return np.einsum("bnp,kbnpd->kbnd", weights, table[:, rows])


write("mix_rows",
      """
      A token is the weighted sum of a few rows of its tap, or of the end, which all taps share. Going back, a row has the sum of what
      the tokens that it is a part of have.
      """,
      """
      input  %x "features": f32[2, 3, 2]
      weight %end "end": f32[2]
      input  %rows "rows": i32[2, 2, 2]
      input  %w "weights": f32[2, 2, 2]
      input  %dy "dy": f32[2, 2, 2, 2]
      %y = mix_rows %x, %end, %rows, %w : f32[2, 2, 2, 2]
      %dx, %dend = mix_rows_grad %dy, %rows, %w {rows = 3} : f32[2, 3, 2], f32[2]
      return "y" = %y
      return "dfeatures" = %dx
      return "dend" = %dend
      """,
      ({"features": features, "end": end, "rows": rows, "weights": weights, "dy": dy},
       {"y": mixed(features, end),
        "dfeatures": difference(lambda x: (dy * mixed(x, end)).sum(), features),
        "dend": difference(lambda x: (dy * mixed(features, x)).sum(), end)}))
