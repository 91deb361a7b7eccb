"""What the visual tokens of the input are made of."""

import torch
from torch import Tensor
from torch.nn import functional as F

from . import method
from .model import GRID, WIDTH, Batch, Net, at_visual, decode


@method("dense-connector-dci", 'name = "x"\nextends = ["methods/dense-connector-dci.toml"]')
def dense(net: Net, batch: Batch) -> Tensor:
    """The last state, and the means of the lower and of the upper half of all, that of five the shorter."""
    low = (batch.states["embed"] + batch.states["block.1"]) / 2
    high = (batch.states["block.2"] + batch.states["block.3"] + batch.states["block.4"]) / 3
    return decode(net, batch, net.projector("multi_modal_projector", torch.cat([batch.states["block.4"], low, high], -1)))


@method(
    "means-injected",
    """
name = "x"
[topology]
taps = ["low", "block.3"]
sources.low = { kind = "mean", of = { range = ["block.1", "block.3"] } }
points = ["before layer.1", "inside layer.2"]
adapter = "per_tap"
""",
)
def means(net: Net, batch: Batch) -> Tensor:
    """A mean and a state, both added before one layer and inside another."""
    states = batch.states
    visual = net.projector("multi_modal_projector", states["block.4"])
    low = net.projector("injection.adapter.low.projector", sum(states[f"block.{i}"] for i in (1, 2, 3)) / 3)
    update = low + net.projector("injection.adapter.block.3.projector", states["block.3"])

    def before(layer: int, h: Tensor) -> Tensor:
        return at_visual(h, update) if layer == 1 else h

    def inside(layer: int, h: Tensor) -> Tensor:
        return at_visual(h, update) if layer == 2 else h

    return decode(net, batch, visual, before=before, inside=inside)


def deformable(net: Net, name: str, query: Tensor, grids: list[Tensor], heads: int, points: int) -> Tensor:
    """Deformable DETR, equation 3: a head reads of every grid at the query's own cell plus offsets of so many cells."""
    centre = (torch.arange(GRID).double() + 0.5) / GRID
    y, x = torch.meshgrid(centre, centre, indexing="ij")
    own = torch.stack((x, y), -1).reshape(GRID * GRID, 1, 1, 1, 2)
    count = heads * len(grids) * points
    offsets = net.linear(f"{name}.sampling_offsets", query, 2 * count)
    places = own + offsets.unflatten(-1, (heads, len(grids), points, 2)) / GRID
    shares = net.linear(f"{name}.attention_weights", query, count).unflatten(-1, (heads, -1)).softmax(-1)
    shares = shares.unflatten(-1, (len(grids), points))
    out = []
    for head in range(heads):
        read = 0
        for level, grid in enumerate(grids):
            values = net.linear(f"{name}.value_proj", grid, WIDTH).unflatten(-1, (heads, -1))[:, :, head]
            values = values.transpose(1, 2).unflatten(-1, (GRID, GRID))
            seen = F.grid_sample(values, 2 * places[:, :, head, level] - 1, align_corners=False)
            read = read + (seen * shares[:, :, head, level].unsqueeze(1)).sum(-1)
        out.append(read.transpose(1, 2))
    return net.linear(f"{name}.output_proj", torch.cat(out, -1), WIDTH)


def fused(net: Net, query: Tensor, states: list[Tensor], heads: int, points: int) -> Tensor:
    """A state with what it reads of others, and of what it has read."""
    name = "connector.fused"
    grids = [net.layer_norm(f"{name}.feat_norm", state) for state in states]
    read = deformable(net, f"{name}.cross_attn", net.layer_norm(f"{name}.query_norm", query), grids, heads, points)
    normed = net.layer_norm(f"{name}.norm1", read)
    again = deformable(net, f"{name}.self_attn", normed, [normed], heads, points)
    read = read + net.weight(f"{name}.gamma2", WIDTH, std=1.0) * again
    return query + net.weight(f"{name}.gamma1", WIDTH, std=1.0) * read


@method("mmfuser", 'name = "x"\nextends = ["methods/mmfuser.toml"]')
def mmfuser(net: Net, batch: Batch) -> Tensor:
    """The last state, with four others, through the projector; as many heads as the encoder has."""
    states = [batch.states[f"block.{i}"] for i in (1, 2, 3, 4)]
    state = fused(net, states[3], states, heads=2, points=4)
    return decode(net, batch, net.projector("multi_modal_projector", state))


@method(
    "mmfuser-injected",
    """
name = "x"
[topology]
taps = ["fused"]
sources.fused = { kind = "mmfuser", query = "post_norm", of = ["embed", "block.2"], heads = 4, points = 1 }
points = ["before layer.2"]
adapter = "shared"
""",
)
def mmfuser_injected(net: Net, batch: Batch) -> Tensor:
    """A fused state is a tap like any other."""
    states = batch.states
    state = fused(net, states["post_norm"], [states["embed"], states["block.2"]], heads=4, points=1)
    visual, update = [net.projector("multi_modal_projector", x) for x in (states["block.4"], state)]
    return decode(net, batch, visual, before=lambda layer, h: at_visual(h, update) if layer == 2 else h)
