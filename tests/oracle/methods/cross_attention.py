"""Layers that read the picture from every position: Flamingo's, as EVLM and Llama-3.2-Vision have them."""

import torch
from torch import Tensor

from . import extending, method
from .model import HEAD_DIM, HEADS, HIDDEN, KV_HEADS, MLP, Batch, Net, attend, decode, heads


def cross_layer(
    net: Net, point: str, h: Tensor, picture: Tensor, mask: Tensor | float, qk_norm: bool, prefix: str = "injection"
) -> Tensor:
    """h ← h + tanh(a) CA(norm h, V); h ← h + tanh(b) MLP(norm h)."""
    name = f"{prefix}.fusion.{point}"
    x = net.rms_norm(f"{name}.input_layernorm", h)
    q = heads(net.linear(f"{name}.cross_attn.q_proj", x, HEADS * HEAD_DIM, bias=False), HEADS)
    k = heads(net.linear(f"{name}.cross_attn.k_proj", picture, KV_HEADS * HEAD_DIM, bias=False), KV_HEADS)
    v = heads(net.linear(f"{name}.cross_attn.v_proj", picture, KV_HEADS * HEAD_DIM, bias=False), KV_HEADS)
    if qk_norm:
        q, k = net.rms_norm(f"{name}.cross_attn.q_norm", q), net.rms_norm(f"{name}.cross_attn.k_norm", k)
    read = net.linear(f"{name}.cross_attn.o_proj", attend(q, k, v, HEAD_DIM**-0.5), HIDDEN, bias=False)
    h = h + mask * torch.tanh(net.weight(f"{name}.attn_gate", 1, mean=0.7)) * read
    x = net.rms_norm(f"{name}.post_attention_layernorm", h)
    return h + mask * torch.tanh(net.weight(f"{name}.mlp_gate", 1, mean=-0.5)) * net.swiglu(f"{name}.mlp", x, MLP)


@method("cross-attention", extending("cross-attention"), visual=0)
def flamingo(net: Net, batch: Batch) -> Tensor:
    """The last state through the projector, read before every second layer; no visual tokens in the sequence."""
    picture = net.projector("injection.adapter.block.4.projector", batch.states["block.4"])

    def before(layer: int, h: Tensor) -> Tensor:
        return cross_layer(net, f"layer.{layer}", h, picture, 1.0, False) if layer % 2 == 0 else h

    return decode(net, batch, None, before=before)


@method(
    "cross-attention-in-sequence",
    """
name = "x"
[topology]
input = "post_norm"
taps = ["block.1", "wide"]
sources.wide = { kind = "channels", of = ["block.2", "post_norm"] }
points = ["inside layer.1", "after layer.2"]
adapter = { kind = "linear", tap_norm = "layer" }
fusion = { kind = "cross_attention", qk_norm = true, gate_init = 0.5 }
mask = "text"
""",
)
def in_sequence(net: Net, batch: Batch) -> Tensor:
    """Two taps of different widths, one after the other in the keys; text alone reads them."""

    def feature(tap: str, x: Tensor) -> Tensor:
        x = net.layer_norm(f"injection.adapter.{tap}.norm", x)
        return net.linear(f"injection.adapter.{tap}.linear", x, HIDDEN)

    wide = torch.cat([batch.states["block.2"], batch.states["post_norm"]], -1)
    picture = torch.cat([feature("block.1", batch.states["block.1"]), feature("wide", wide)], 1)
    visual = net.projector("multi_modal_projector", batch.states["post_norm"])
    text = (torch.arange(visual.shape[1] + batch.text.shape[1]) >= visual.shape[1]).double()[None, :, None]

    def inside(layer: int, h: Tensor) -> Tensor:
        return cross_layer(net, "layer.1.inside", h, picture, text, True) if layer == 1 else h

    def after(layer: int, h: Tensor) -> Tensor:
        return cross_layer(net, "layer.2.after", h, picture, text, True) if layer == 2 else h

    return decode(net, batch, visual, inside=inside, after=after)
