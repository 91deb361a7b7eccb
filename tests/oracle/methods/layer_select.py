"""Layer-select-fuse: where several vision states are fused, and with what."""

import torch
from torch import Tensor

from . import extending, method
from .connectors import concat, fused
from .model import HEAD_DIM, HEADS, HIDDEN, KV_HEADS, MLP, Batch, Net
from .model import at_visual, attend, block, decode, feed_forward, heads, self_attention

CHOSEN = [1, 3, 4]


def input_tokens(net: Net, batch: Batch) -> Tensor:
    return net.projector("multi_modal_projector", batch.states["block.4"])


def projected(net: Net, batch: Batch) -> list[Tensor]:
    """Every chosen state through a projector of its own."""
    return [net.projector(f"injection.adapter.block.{i}.projector", batch.states[f"block.{i}"]) for i in CHOSEN]


@method("lsf-external-direct", extending("lsf-external-direct"))
def external_direct(net: Net, batch: Batch) -> Tensor:
    """The chosen states and the last side by side in front of one projector."""
    read = concat(net, batch, ["block.1", "block.3", "block.4"])
    return decode(net, batch, net.projector("multi_modal_projector", read))


@method("lsf-external-modular", extending("lsf-external-modular"))
def external_modular(net: Net, batch: Batch) -> Tensor:
    """The last state, refined by what it reads of the chosen ones."""
    states = batch.states
    state = fused(net, states["block.4"], [states["block.1"], states["block.3"]], heads=2, points=4)
    return decode(net, batch, net.projector("multi_modal_projector", state))


@method("lsf-internal-direct", extending("lsf-internal-direct"))
def internal_direct(net: Net, batch: Batch) -> Tensor:
    """h[image] += P_j V_j before a layer."""
    updates = projected(net, batch)
    before = lambda i, h: at_visual(h, updates[i]) if i < len(updates) else h
    return decode(net, batch, input_tokens(net, batch), before=before)


@method("lsf-internal-modular", extending("lsf-internal-modular"))
def internal_modular(net: Net, batch: Batch) -> Tensor:
    """r = norm h; x = r + tanh(a) CA(r, P V); x = x + tanh(b) MLP(x); h = norm'(h + SA(x)); h = h + MLP'(h)."""
    pictures = projected(net, batch)

    def layer_of(net: Net, layer: int, h: Tensor) -> Tensor:
        if layer >= len(pictures):
            return block(net, layer, h)
        own = f"injection.fusion.layer.{layer}.attention"
        name = f"language_model.model.layers.{layer}"
        x = net.rms_norm(f"{name}.input_layernorm", h)
        q = heads(net.linear(f"{own}.cross_attn.q_proj", x, HEADS * HEAD_DIM, bias=False), HEADS)
        k = heads(net.linear(f"{own}.cross_attn.k_proj", pictures[layer], KV_HEADS * HEAD_DIM, bias=False), KV_HEADS)
        v = heads(net.linear(f"{own}.cross_attn.v_proj", pictures[layer], KV_HEADS * HEAD_DIM, bias=False), KV_HEADS)
        read = net.linear(f"{own}.cross_attn.o_proj", attend(q, k, v, HEAD_DIM**-0.5), HIDDEN, bias=False)
        x = x + torch.tanh(net.weight(f"{own}.attn_gate", 1, mean=0.7)) * read
        x = x + torch.tanh(net.weight(f"{own}.mlp_gate", 1, mean=-0.5)) * net.swiglu(f"{own}.mlp", x, MLP)
        h = net.rms_norm(f"{name}.post_attention_layernorm", h + self_attention(net, layer, x))
        return h + feed_forward(net, layer, h)

    return decode(net, batch, input_tokens(net, batch), layer_of=layer_of)
