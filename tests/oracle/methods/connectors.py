"""What the visual tokens of the input are made of."""

import torch
from torch import Tensor

from . import method
from .model import Batch, Net, at_visual, decode


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
