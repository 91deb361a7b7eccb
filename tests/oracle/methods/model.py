"""What all methods stand on: named weights, a batch, a small Llama-style decoder with places between its sub-layers."""

from dataclasses import dataclass, field
from typing import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

WIDTH = 8  # of the vision encoder
GRID = 4  # patches along a side
HIDDEN, LAYERS, HEADS, KV_HEADS, HEAD_DIM, MLP = 12, 4, 4, 2, 6, 20
VOCAB, THETA, EPS, VISION_EPS = 11, 10000.0, 1e-5, 1e-6
BLOCKS = 4
TEXT, TARGETS = 7, 4  # tokens of a sequence behind the picture, and how many of the last are predicted

# A recipe of these dimensions, but for its topology and its projector.
RECIPE = f"""
[model.vision]
family = "vit"
image_size = {4 * GRID}
patch_size = 4
hidden = {WIDTH}
layers = {BLOCKS}
heads = 2
mlp = 16
class_token = true
post_norm = true
[model.language]
family = "llama"
hidden = {HIDDEN}
layers = {LAYERS}
heads = {HEADS}
kv_heads = {KV_HEADS}
head_dim = {HEAD_DIM}
mlp = {MLP}
vocab_size = {VOCAB}
[model.projector]
PROJECTOR
[data]
source = "synthetic"
[train]
steps = 1
batch_size = 2
lr = 1e-3
[eval]
max_new_tokens = 3
"""


class Net:
    """Weights by the names that crossloom gives them, made when they are first asked for."""

    def __init__(self, seed: int):
        self.generator = torch.Generator().manual_seed(seed)
        self.weights: dict[str, Tensor] = {}

    def weight(self, name: str, *shape: int, mean: float = 0.0, std: float | None = None) -> Tensor:
        if name not in self.weights:
            std = 1.2 / shape[-1] ** 0.5 if std is None else std
            value = mean + std * torch.randn(shape, generator=self.generator, dtype=torch.float64)
            self.weights[name] = value.float().double().requires_grad_()
        assert self.weights[name].shape == shape, name
        return self.weights[name]

    def linear(self, name: str, x: Tensor, out: int, bias: bool = True) -> Tensor:
        weight = self.weight(f"{name}.weight", out, x.shape[-1])
        return F.linear(x, weight, self.weight(f"{name}.bias", out, std=0.3) if bias else None)

    def rms_norm(self, name: str, x: Tensor) -> Tensor:
        gain = self.weight(f"{name}.weight", x.shape[-1], mean=1.0, std=0.3)
        return gain * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPS)

    def layer_norm(self, name: str, x: Tensor, eps: float = VISION_EPS) -> Tensor:
        width = x.shape[-1]
        gain = self.weight(f"{name}.weight", width, mean=1.0, std=0.3)
        return F.layer_norm(x, (width,), gain, self.weight(f"{name}.bias", width, std=0.3), eps)

    def swiglu(self, name: str, x: Tensor, inner: int) -> Tensor:
        gate = F.silu(self.linear(f"{name}.gate_proj", x, inner, bias=False))
        up = self.linear(f"{name}.up_proj", x, inner, bias=False)
        return self.linear(f"{name}.down_proj", gate * up, x.shape[-1], bias=False)

    def projector(self, name: str, x: Tensor) -> Tensor:
        return self.linear(f"{name}.linear_2", F.gelu(self.linear(f"{name}.linear_1", x, 10)), HIDDEN)


@dataclass
class Batch:
    """Two pictures as states of an encoder, and what is asked about each."""

    states: dict[str, Tensor]  # by address, [B, N, WIDTH]
    text: Tensor  # [B, TEXT]
    targets: Tensor  # [B, TARGETS]
    extra: dict[str, Tensor] = field(default_factory=dict)  # other inputs by name
    auxiliary: list[Tensor] = field(default_factory=list)  # what the loss has beside the cross-entropy

    @property
    def visual(self) -> int:
        return GRID * GRID


def heads(x: Tensor, count: int) -> Tensor:
    """[B, T, count · width] to [B, count, T, width]."""
    return x.unflatten(-1, (count, -1)).transpose(1, 2)


def attend(q: Tensor, k: Tensor, v: Tensor, scale: float, causal: bool = False) -> Tensor:
    """Attention of [B, H, T, d] over [B, G, S, d], G dividing H; [B, T, H · d]."""
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
    scores = scale * q @ k.transpose(-1, -2)
    if causal:
        ahead = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        scores = scores.masked_fill(ahead, float("-inf"))
    return (scores.softmax(-1) @ v).transpose(1, 2).flatten(-2)


def turned(x: Tensor) -> Tensor:
    """Rotary positions, a head's halves turned against each other."""
    width = x.shape[-1]
    angles = torch.arange(x.shape[-2]).double()[:, None] * THETA ** -(torch.arange(0, width, 2).double() / width)
    cos, sin = angles.cos().repeat(1, 2), angles.sin().repeat(1, 2)
    left, right = x.chunk(2, -1)
    return x * cos + torch.cat([-right, left], -1) * sin


Place = Callable[[int, Tensor], Tensor]


def unchanged(_: int, h: Tensor) -> Tensor:
    return h


def self_attention(net: Net, layer: int, x: Tensor) -> Tensor:
    name = f"language_model.model.layers.{layer}.self_attn"
    q = turned(heads(net.linear(f"{name}.q_proj", x, HEADS * HEAD_DIM, bias=False), HEADS))
    k = turned(heads(net.linear(f"{name}.k_proj", x, KV_HEADS * HEAD_DIM, bias=False), KV_HEADS))
    v = heads(net.linear(f"{name}.v_proj", x, KV_HEADS * HEAD_DIM, bias=False), KV_HEADS)
    return net.linear(f"{name}.o_proj", attend(q, k, v, HEAD_DIM**-0.5, causal=True), HIDDEN, bias=False)


def feed_forward(net: Net, layer: int, x: Tensor) -> Tensor:
    return net.swiglu(f"language_model.model.layers.{layer}.mlp", x, MLP)


def block(net: Net, layer: int, h: Tensor, inside: Place = unchanged) -> Tensor:
    """A decoder layer."""
    name = f"language_model.model.layers.{layer}"
    h = h + self_attention(net, layer, net.rms_norm(f"{name}.input_layernorm", h))
    h = inside(layer, h)
    return h + feed_forward(net, layer, net.rms_norm(f"{name}.post_attention_layernorm", h))


def decode(
    net: Net,
    batch: Batch,
    visual: Tensor | None,
    before: Place = unchanged,
    inside: Place = unchanged,
    after: Place = unchanged,
    layer_of: Callable[[Net, int, Tensor], Tensor] | None = None,
) -> Tensor:
    """Logits of the last positions, behind `visual` tokens [B, N, D] or none."""
    table = net.weight("language_model.model.embed_tokens.weight", VOCAB, HIDDEN, std=1.0)
    h = table[batch.text]
    if visual is not None:
        h = torch.cat([visual, h], 1)
    for layer in range(LAYERS):
        h = before(layer, h)
        h = block(net, layer, h, inside) if layer_of is None else layer_of(net, layer, h)
        h = after(layer, h)
    h = net.rms_norm("language_model.model.norm", h[:, -TARGETS:])
    return h @ table.T


def loss(logits: Tensor, batch: Batch) -> Tensor:
    return F.cross_entropy(logits.flatten(0, 1), batch.targets.flatten()) + sum(batch.auxiliary)


def at_visual(h: Tensor, update: Tensor) -> Tensor:
    """h with an update [B, N, D] added at the visual tokens, which come first."""
    return h + F.pad(update, (0, 0, 0, h.shape[1] - update.shape[1]))
