"""Patches of a picture in high resolution, dealt out to stacks and added before decoder layers (DeepStack)."""

import torch
from torch import Tensor

from . import extending, method
from .model import GRID, WIDTH, Batch, Net, at_visual, decode

SIDE = 2
POINTS = '[topology]\npoints = { range = ["before layer.0", "before layer.3"] }\n'


def fine(net: Net, batch: Batch) -> Tensor:
    """The states of all tiles, stitched to one map [B, SIDE · GRID, SIDE · GRID, WIDTH]."""
    side = SIDE * GRID
    stitched = torch.randn(2, side * side, WIDTH, generator=net.generator).float()
    batch.extra["state.block.4.tiles.2"] = stitched
    return stitched.double().reshape(2, side, side, WIDTH)


def stacked(net: Net, batch: Batch, stacks: list[Tensor], picture: Tensor | None = None) -> Tensor:
    """Stack i before layer i; all pass the input's own projector, which reads the picture's last state at the input."""
    picture = batch.states["block.4"] if picture is None else picture

    def before(layer: int, h: Tensor) -> Tensor:
        return at_visual(h, net.projector("multi_modal_projector", stacks[layer]))

    return decode(net, batch, net.projector("multi_modal_projector", picture), before=before)


@method("deepstack", extending("deepstack", POINTS))
def dilated(net: Net, batch: Batch) -> Tensor:
    """Stack (i, j) takes rows i mod 2 and columns j mod 2, i outer and j inner."""
    whole = fine(net, batch)
    stacks = [whole[:, i::SIDE, j::SIDE].flatten(1, 2) for i in range(SIDE) for j in range(SIDE)]
    return stacked(net, batch, stacks)


def averaged(x: Tensor) -> Tensor:
    """Means over two by two of [B, n, n, W]."""
    return x.unflatten(2, (-1, 2)).unflatten(1, (-1, 2)).mean((2, 4))


@method(
    "deepstack-scaledown",
    extending("deepstack", POINTS + 'sources.fine.sampling = "2d_scaledown"\n'),
    visual=GRID * GRID // 4,
    projector='hidden = 10\nmerge = 2\nmerging = "mean"',
)
def scaled_down(net: Net, batch: Batch) -> Tensor:
    """Tiles and the picture itself are averaged first; what is left is dealt out as before."""
    picture = averaged(batch.states["block.4"].unflatten(1, (GRID, GRID))).flatten(1, 2)
    whole = averaged(fine(net, batch))
    stacks = [whole[:, i::SIDE, j::SIDE].flatten(1, 2) for i in range(SIDE) for j in range(SIDE)]
    return stacked(net, batch, stacks, picture)


@method("deepstack-1d", extending("deepstack", POINTS + 'sources.fine.sampling = "1d"\n'))
def strided(net: Net, batch: Batch) -> Tensor:
    rows = fine(net, batch).flatten(1, 2)
    return stacked(net, batch, [rows[:, k :: SIDE * SIDE] for k in range(SIDE * SIDE)])


@method("deepstack-tiles", extending("deepstack", POINTS + 'sources.fine.sampling = "tiles"\n'))
def tiles(net: Net, batch: Batch) -> Tensor:
    whole = fine(net, batch)
    cut = [(slice(i * GRID, (i + 1) * GRID), slice(j * GRID, (j + 1) * GRID)) for i in range(SIDE) for j in range(SIDE)]
    return stacked(net, batch, [whole[:, y, x].flatten(1, 2) for y, x in cut])
