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
