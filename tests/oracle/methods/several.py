"""Several injections in one topology, each with its own taps, points, adapter, fusion, positions and passes."""

import torch
from torch import Tensor

from . import method
from .cross_attention import cross_layer
from .model import HIDDEN, Batch, Net, at_visual, decode


@method(
    "several-injections",
    """
name = "x"
[topology]
input = "post_norm"
taps = ["block.2", "block.3"]
points = ["after layer.0", "after layer.1"]
adapter = { kind = "amp", rank = 2, alpha = 3.0 }
gate = { kind = "static", init = 0.5 }
[topology.injections.deep]
taps = ["block.2"]
points = ["inside layer.1", "inside layer.3"]
adapter = { kind = "linear", tap_norm = "layer" }
[topology.injections.read]
taps = ["block.1", "block.2"]
points = ["before layer.2"]
adapter = "per_tap"
fusion = { kind = "cross_attention", gate_init = 0.5 }
mask = "text"
""",
)
def several(net: Net, batch: Batch) -> Tensor:
    """A tap feeds all three, through adapters of their own; two of the three change the visual tokens, one the text."""

    def amp(tap: str) -> Tensor:
        name, x = f"injection.adapter.{tap}", batch.states[tap]
        a = net.weight(f"{name}.lora_A.weight", 2, x.shape[-1])
        b = net.weight(f"{name}.lora_B.weight", HIDDEN, 2)
        return net.projector("multi_modal_projector", x) + 3.0 / 2 * (x @ a.T @ b.T)

    taps = ["block.2", "block.3"]
    features = {tap: amp(tap) for tap in taps}
    normed = net.layer_norm("injection.deep.adapter.block.2.norm", batch.states["block.2"])
    deep = net.linear("injection.deep.adapter.block.2.linear", normed, HIDDEN)
    picture = torch.cat(
        [net.projector(f"injection.read.adapter.{tap}.projector", batch.states[tap]) for tap in ["block.1", "block.2"]], 1
    )
    visual = net.projector("multi_modal_projector", batch.states["post_norm"])
    text = (torch.arange(visual.shape[1] + batch.text.shape[1]) >= visual.shape[1]).double()[None, :, None]

    def after(layer: int, h: Tensor) -> Tensor:
        if layer > 1:
            return h
        gates = {tap: net.weight(f"injection.gate.layer.{layer}.after.{tap}.weight", 1, mean=0.5) for tap in taps}
        return at_visual(h, sum(gates[tap] * features[tap] for tap in taps))

    def inside(layer: int, h: Tensor) -> Tensor:
        return at_visual(h, deep) if layer in (1, 3) else h

    def before(layer: int, h: Tensor) -> Tensor:
        return cross_layer(net, "layer.2", h, picture, text, False, "injection.read") if layer == 2 else h

    return decode(net, batch, visual, before=before, inside=inside, after=after)
