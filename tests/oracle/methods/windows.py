"""Visual tokens that read windows of patches: the spatial vision aggregator of Cambrian-1."""

import torch
from torch import Tensor
from torch.nn import functional as F

from . import method
from .model import GRID, HIDDEN, Batch, Net, attend, decode, heads

EPS = 1e-5


def windows(net: Net, tap: str, state: Tensor, hidden: int, merge: int) -> Tensor:
    """[B, patches, W] to a window per token, [B, N, merge^2, hidden]."""
    name = f"injection.adapter.{tap}"
    x = net.linear(f"{name}.linear_2", F.gelu(net.linear(f"{name}.linear_1", state, hidden)), hidden)
    x = net.layer_norm(f"{name}.norm", x, EPS)
    cells = x.unflatten(1, (GRID // merge, merge, GRID // merge, merge)).transpose(2, 3)
    return cells.flatten(3, 4).flatten(1, 2)


def layer(net: Net, name: str, tokens: Tensor, taps: list[Tensor], count: int) -> Tensor:
    """q + MLP(norm(x + CA(x, windows + positions))), x = W [q; W' context]: one query per window."""
    hidden = taps[0].shape[-1]

    def projected(part: str, x: Tensor) -> Tensor:
        part = f"{name}.cross_attn.{part}"
        return net.linear(f"{part}.1", net.layer_norm(f"{part}.0", x, EPS), hidden, bias=False)

    context = net.linear(f"{name}.proj_context", taps[0].flatten(1, 2).mean(1), hidden, bias=False)
    context = context.unsqueeze(1).expand(-1, tokens.shape[1], -1)
    x = net.linear(f"{name}.proj_in", torch.cat([tokens, context], -1), hidden, bias=False)
    keys, values = [], []
    for i, window in enumerate(taps):
        rows = window.shape[2]
        if rows > 1:
            window = window + net.weight(f"{name}.pos_embed_{i}", rows, hidden, std=1.0)
        keys.append(projected(f"k_proj_{i}", window).flatten(0, 1))
        values.append(projected(f"v_proj_{i}", window).flatten(0, 1))
    q = projected("q_proj", x).flatten(0, 1).unsqueeze(1)
    k, v = torch.cat(keys, 1), torch.cat(values, 1)
    read = attend(heads(q, count), heads(k, count), heads(v, count), (hidden // count) ** -0.5)
    read = net.linear(f"{name}.cross_attn.o_proj", read.reshape(x.shape), hidden, bias=False)
    x = net.layer_norm(f"{name}.norm", x + read, EPS)
    inner = F.gelu(net.linear(f"{name}.proj_out.linear_1", x, hidden, bias=False))
    return tokens + net.linear(f"{name}.proj_out.linear_2", inner, tokens.shape[-1], bias=False)


def learned(net: Net, taps: list[Tensor], depth: int, count: int) -> Tensor:
    """Visual tokens that begin as one, read windows, and pass the projector."""
    hidden = taps[0].shape[-1]
    tokens = net.weight("injection.connector.query", hidden, std=1.0).expand(*taps[0].shape[:2], -1)
    for i in range(depth):
        tokens = layer(net, f"injection.connector.layers.{i}", tokens, taps, count)
    return net.projector("multi_modal_projector", tokens)


def visual_part(h: Tensor, visual: int, update) -> Tensor:
    return torch.cat([update(h[:, :visual]), h[:, visual:]], 1)


@method(
    "cambrian-sva",
    """
name = "x"
extends = ["methods/cambrian-sva.toml"]
[topology]
points = ["before layer.1", "after layer.2"]
""",
)
def sva(net: Net, batch: Batch) -> Tensor:
    """Two states, at the input and behind two layers; every token reads its own patch of both."""
    taps = [windows(net, f"block.{i}", batch.states[f"block.{i}"], 8, 1) for i in (1, 4)]

    def read(point: str, h: Tensor) -> Tensor:
        return visual_part(h, GRID * GRID, lambda q: layer(net, f"injection.fusion.{point}", q, taps, 2))

    def before(index: int, h: Tensor) -> Tensor:
        return read("layer.1", h) if index == 1 else h

    def after(index: int, h: Tensor) -> Tensor:
        return read("layer.2.after", h) if index == 2 else h

    return decode(net, batch, learned(net, taps, 3, 2), before=before, after=after)


@method(
    "windows-of-four-patches",
    """
name = "x"
[topology]
input = { kind = "windows", of = ["block.2", "post_norm"], hidden = 6, heads = 3, depth = 1 }
taps = ["post_norm", "block.3"]
points = ["before layer.1"]
adapter = { kind = "windows", hidden = 6 }
fusion = { kind = "windows", heads = 1 }
[variants.v]
model.projector.merge = 2
""",
    visual=GRID * GRID // 4,
)
def four(net: Net, batch: Batch) -> Tensor:
    """Tokens of two by two patches; a tap at the input is the same where it is injected, and other taps are read beside it."""
    norm, second, third = [windows(net, tap, batch.states[tap], 6, 2) for tap in ("post_norm", "block.2", "block.3")]

    def before(index: int, h: Tensor) -> Tensor:
        read = lambda q: layer(net, "injection.fusion.layer.1", q, [norm, third], 1)
        return visual_part(h, GRID * GRID // 4, read) if index == 1 else h

    assert HIDDEN != 6
    return decode(net, batch, learned(net, [second, norm], 1, 3), before=before)
