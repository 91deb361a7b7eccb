"""Attention over points of grids, by PyTorch's `grid_sample`, with gradients by its autograd."""

import torch
import torch.nn.functional as F

from filetest import draw, rng, write


def attended(values, locations, weights, heads, sides):
    """Grid by grid: `[B, S, H hd]`, `[B, Q, H, L, P, 2]` and `[B, Q, H, L, P]` to `[B, Q, H hd]`."""
    batch, _, width = values.shape
    queries, points = locations.shape[1], locations.shape[4]
    by_head = values.reshape(batch, -1, heads, width // heads)
    out, first = 0, 0
    for level, side in enumerate(sides):
        grid = by_head[:, first:first + side * side].permute(0, 2, 3, 1).reshape(batch * heads, -1, side, side)
        first += side * side
        at = (2 * locations[:, :, :, level] - 1).transpose(1, 2).reshape(batch * heads, queries, points, 2)
        read = F.grid_sample(grid, at, mode="bilinear", padding_mode="zeros", align_corners=False)
        share = weights[:, :, :, level].transpose(1, 2).reshape(batch * heads, 1, queries, points)
        out = out + (read * share).sum(-1).reshape(batch, heads, -1, queries)
    return out.permute(0, 3, 1, 2).reshape(batch, queries, width)


heads, sides = 2, [2, 1, 3]
values, do = draw(1, 14, 4), draw(1, 3, 4)
locations = (rng.uniform(-0.2, 1.2, (1, 3, heads, 3, 2, 2)) * 100).round() / 100
weights = draw(1, 3, heads, 3, 2)
# At a cell's centre, at the middle of four, at a corner of a grid, beyond it.
locations[0, 0, 0, 0] = [[0.25, 0.75], [0.5, 0.5]]
locations[0, 0, 0, 2] = [[0, 1], [1.5, 0.5]]
tensors = [torch.tensor(x, requires_grad=True) for x in (values, locations, weights)]
y = attended(*tensors, heads, sides)
(y * torch.tensor(do)).sum().backward()
dvalues, dlocations, dweights = [x.grad.numpy() for x in tensors]
write("deformable_attention",
      "Three queries of two heads read two points of each of three grids: between the centres of four cells, and nothing beyond\n"
      "a grid. At a centre, a gradient by a place is that behind it.",
      """
      input %v "values": f32[1, 14, 4]
      input %l "locations": f32[1, 3, 2, 3, 2, 2]
      input %w "weights": f32[1, 3, 2, 3, 2]
      input %d "do": f32[1, 3, 4]
      %y = deformable_attention %v, %l, %w {heads = 2, sides = [2, 1, 3]} : f32[1, 3, 4]
      %dv, %dl, %dw = deformable_attention_grad %d, %v, %l, %w {heads = 2, sides = [2, 1, 3]} : f32[1, 14, 4], f32[1, 3, 2, 3, 2, 2], f32[1, 3, 2, 3, 2]
      return "y" = %y
      return "dvalues" = %dv
      return "dlocations" = %dl
      return "dweights" = %dw
      """,
      ({"values": values, "locations": locations, "weights": weights, "do": do},
       {"y": y.detach().numpy(), "dvalues": dvalues, "dlocations": dlocations, "dweights": dweights}))
