#!/usr/bin/env python3
"""Writes what small PyTorch modules compute, written here from the equations of published connectors.

    pip install torch safetensors
    python tests/oracle/make_connector_fixtures.py

Every file of `crates/crossloom-model/src/connector/fixtures` is a module with random weights, in f64: `input.*`, `weight.*`, what it
gives as `output.*`, and for the sum of all outputs, each times its `share.*`, the gradients `grad.*` by weights and `input_grad.*` by
inputs.
"""

import math
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import save_file

FOLDER = Path(__file__).resolve().parents[2] / "crates/crossloom-model/src/connector/fixtures"
torch.set_default_dtype(torch.float64)
generator = torch.Generator().manual_seed(23)


def draw(*shape, scale=1.0):
    return scale * torch.randn(shape, generator=generator)


class MoL(nn.Module):
    """Patch, layer or both: scores q.k over the root of their width; the best few layers; a reserve beside them."""

    def __init__(self, level, top_k, width, of_state, of_question):
        super().__init__()
        self.level, self.top_k, self.width = level, top_k, width
        self.query = nn.Linear(of_question, width, bias=False)
        self.key = nn.Linear(of_state, width, bias=False)
        self.reserve = nn.Linear(1, 1)
        if level == "hybrid":
            self.power = nn.Linear(of_question, 1)

    def forward(self, question, reserve, **states):
        h = torch.stack([states[name] for name in sorted(states)], 2)  # [B, N, K, D]
        by_patch = torch.einsum("bd,bnkd->bnk", self.query(question), self.key(h)) / math.sqrt(self.width)
        by_layer = by_patch.mean(1, keepdim=True)
        divergence = torch.zeros(1, 1, 1)
        if self.level == "hybrid":
            # A product of experts: each distribution to a power, made to sum to one again.
            power = torch.sigmoid(self.power(question)).unsqueeze(1)
            of_layer, of_patch = by_layer.softmax(-1), by_patch.softmax(-1)
            product = of_layer**power * of_patch ** (1 - power)
            shares = product / product.sum(-1, keepdim=True)
            divergence = (of_patch * (of_patch / of_layer).log()).sum(-1, keepdim=True)
        else:
            shares = (by_layer if self.level == "layer" else by_patch).softmax(-1)
        best = shares.topk(self.top_k, -1).indices
        taken = torch.zeros_like(shares).scatter(-1, best, 1.0)
        kept = shares * taken
        kept = kept / kept.sum(-1, keepdim=True)
        mixed = (kept.unsqueeze(-1) * h).sum(2)
        held = torch.sigmoid(self.reserve(divergence) if self.level == "hybrid" else self.reserve.bias)
        layers = shares.shape[-1]
        imbalance = layers * (taken.mean((0, 1)) / self.top_k * shares.mean((0, 1))).sum()
        kept = kept.squeeze(1) if self.level == "layer" else kept
        return {"state": (1 - held) * mixed + held * reserve, "shares": kept, "imbalance": imbalance}


class GeluLayers(nn.Sequential):
    def __init__(self, *widths, bias):
        super().__init__(nn.Linear(widths[0], widths[1], bias=bias), nn.GELU(), nn.Linear(widths[1], widths[2], bias=bias))


class Aggregation(nn.Module):
    """One layer of the spatial vision aggregator: a query per window, over the windows of all encoders."""

    def __init__(self, width, hidden, sizes, heads):
        super().__init__()
        self.heads = heads
        self.proj_context = nn.Linear(hidden, hidden, bias=False)
        self.proj_in = nn.Linear(width + hidden, hidden, bias=False)
        normed = lambda: nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, hidden, bias=False))
        self.cross_attn = nn.ModuleDict({"q_proj": normed(), "o_proj": nn.Linear(hidden, hidden, bias=False)})
        for i, size in enumerate(sizes):
            self.cross_attn.update({f"k_proj_{i}": normed(), f"v_proj_{i}": normed()})
            if size > 1:
                self.register_parameter(f"pos_embed_{i}", nn.Parameter(draw(size * size, hidden)))
        self.norm = nn.LayerNorm(hidden)
        layers = GeluLayers(hidden, hidden, width, bias=False)
        self.proj_out = nn.ModuleDict({"linear_1": layers[0], "linear_2": layers[2]})

    def forward(self, tokens, context, windows):
        batch, count, _ = tokens.shape
        context = self.proj_context(context).unsqueeze(1).expand(-1, count, -1)
        x = self.proj_in(torch.cat([tokens, context], -1))
        keys, values = [], []
        for i, window in enumerate(windows):  # [B, N, rows, H]
            window = window + getattr(self, f"pos_embed_{i}") if window.shape[2] > 1 else window
            keys.append(self.cross_attn[f"k_proj_{i}"](window))
            values.append(self.cross_attn[f"v_proj_{i}"](window))
        by_head = lambda x: x.unflatten(-1, (self.heads, -1)).transpose(-3, -2)
        q, k, v = [by_head(x) for x in (self.cross_attn["q_proj"](x).unsqueeze(2), torch.cat(keys, 2), torch.cat(values, 2))]
        read = F.scaled_dot_product_attention(q, k, v).transpose(-3, -2).flatten(-2).squeeze(2)
        x = self.norm(x + self.cross_attn["o_proj"](read))
        return tokens + self.proj_out["linear_2"](F.gelu(self.proj_out["linear_1"](x)))


class SVA(nn.Module):
    """Two encoders, whose windows have different sizes, in front of a language model and behind one of its layers."""

    def __init__(self, of_states, sizes, side, hidden, width, depth, heads):
        super().__init__()
        self.side, self.sizes = side, sizes
        for i, of_state in enumerate(of_states):
            layers = GeluLayers(of_state, hidden, hidden, bias=True)
            self.add_module(f"mm_projector_aux_{i}", nn.Sequential(*layers, nn.LayerNorm(hidden)))
        self.vision_query = nn.Parameter(draw(1, hidden))
        layers = nn.ModuleList([Aggregation(hidden, hidden, sizes, heads) for _ in range(depth)])
        self.vision_sampler_0 = nn.ModuleDict({"layers": layers})
        self.mm_projector = GeluLayers(hidden, width, width, bias=True)
        behind = nn.ModuleDict({"layers": nn.ModuleList([Aggregation(width, hidden, sizes, heads)])})
        self.vision_sampler_layers = nn.ModuleList([behind])

    def forward(self, tokens, **states):
        states = [getattr(self, f"mm_projector_aux_{i}")(states[name]) for i, name in enumerate(sorted(states))]
        context, windows = states[0].mean(1), []
        for state, size in zip(states, self.sizes):
            cells = state.unflatten(1, (self.side, size, self.side, size)).transpose(2, 3)
            windows.append(cells.reshape(len(state), self.side**2, size * size, -1))
        x = self.vision_query.expand(len(context), self.side**2, -1)
        for layer in self.vision_sampler_0["layers"]:
            x = layer(x, context, windows)
        behind = self.vision_sampler_layers[0]["layers"][0]
        return {"visual": self.mm_projector(x), "behind": behind(tokens, context, windows)}


def write(name, module, **inputs):
    for parameter_name, parameter in module.named_parameters():
        spread = 1.0 if parameter.dim() < 2 else parameter.shape[1] ** -0.5
        centre = 1.0 if "norm" in parameter_name and parameter_name.endswith("weight") else 0.0
        parameter.data = centre + draw(*parameter.shape, scale=spread)
    for x in inputs.values():
        x.requires_grad_(True)
    outputs = module(**inputs)
    shares = {key: draw(*y.shape) for key, y in outputs.items()}
    sum((y * shares[key]).sum() for key, y in outputs.items()).backward()
    tensors = {f"input.{key}": x for key, x in inputs.items()}
    tensors |= {f"output.{key}": y for key, y in outputs.items()}
    tensors |= {f"share.{key}": y for key, y in shares.items()}
    tensors |= {f"weight.{key}": w for key, w in module.named_parameters() if w.grad is not None}
    tensors |= {f"grad.{key}": w.grad for key, w in module.named_parameters() if w.grad is not None}
    tensors |= {f"input_grad.{key}": x.grad for key, x in inputs.items()}
    FOLDER.mkdir(parents=True, exist_ok=True)
    save_file({key: x.detach().contiguous() for key, x in tensors.items()}, FOLDER / f"{name}.safetensors")


state = lambda cells, width: draw(2, cells, width)
for level in ("layer", "patch", "hybrid"):
    states = {f"state_{i}": state(5, 6) for i in range(4)}
    write(f"mol_{level}", MoL(level, 2, 3, 6, 7), question=draw(2, 7), reserve=state(5, 6), **states)
write("sva", SVA([5, 6], [1, 2], 2, 8, 12, 2, 2), tokens=state(4, 12), state_0=state(4, 5), state_1=state(16, 6))
