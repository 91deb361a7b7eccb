"""Mixtures of layers (MoL): a question chooses, by the picture, patch by patch, or both."""

import torch
from torch import Tensor

from . import extending, method
from .connectors import question
from .model import WIDTH, Batch, Net, decode

NAME = "injection.connector"


def mixed(net: Net, batch: Batch, level: str, blocks: list[int], top_k: int, width: int, balance: float) -> Tensor:
    """Scores q.k over the root of their width; the best few layers; the last state in reserve."""
    asked = question(net, batch)
    h = torch.stack([batch.states[f"block.{block}"] for block in blocks], 2)  # [B, N, K, D]
    q = net.linear(f"{NAME}.query", asked, width, bias=False)
    by_patch = torch.einsum("bd,bnkd->bnk", q, net.linear(f"{NAME}.key", h, width, bias=False)) / width**0.5
    by_layer = by_patch.mean(1, keepdim=True)
    held = net.weight(f"{NAME}.reserve.bias", 1, std=1.0)
    if level == "hybrid":
        # A product of experts: each distribution to a power, made to sum to one again.
        power = torch.sigmoid(net.linear(f"{NAME}.power", asked, 1)).unsqueeze(1)
        of_layer, of_patch = by_layer.softmax(-1), by_patch.softmax(-1)
        product = of_layer**power * of_patch ** (1 - power)
        shares = product / product.sum(-1, keepdim=True)
        divergence = (of_patch * (of_patch / of_layer).log()).sum(-1, keepdim=True)
        held = net.weight(f"{NAME}.reserve.weight", 1, 1, std=1.0)[0] * divergence + held
    else:
        shares = (by_layer if level == "layer" else by_patch).softmax(-1)
    taken = torch.zeros_like(shares).scatter(-1, shares.topk(top_k, -1).indices, 1.0)
    kept = shares * taken
    kept = kept / kept.sum(-1, keepdim=True)
    gamma = torch.sigmoid(held)
    state = (1 - gamma) * (kept.unsqueeze(-1) * h).sum(2) + gamma * batch.states["block.4"]
    often, mean = taken.mean((0, 1)) / top_k, shares.mean((0, 1))
    batch.auxiliary.append(balance * len(blocks) * (often * mean).sum())
    return decode(net, batch, net.projector("multi_modal_projector", state))


@method("mol", extending("mol"))
def mol(net: Net, batch: Batch) -> Tensor:
    return mixed(net, batch, "hybrid", [1, 2, 3, 4], 2, WIDTH, 0.01)


@method("mol-by-layer", extending("mol", '[topology.input]\nlevel = "layer"\ntop_k = 1\nwidth = 3\nbalance = 0.5\n'))
def by_layer(net: Net, batch: Batch) -> Tensor:
    return mixed(net, batch, "layer", [1, 2, 3, 4], 1, 3, 0.5)


@method("mol-by-patch", extending("mol", '[topology.input]\nlevel = "patch"\ntop_k = 3\nof = ["block.1", "block.3", "block.4"]\n'))
def by_patch(net: Net, batch: Batch) -> Tensor:
    return mixed(net, batch, "patch", [1, 3, 4], 3, WIDTH, 0.01)
