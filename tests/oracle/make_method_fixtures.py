"""Writes what injection methods compute, from their equations (`methods/`), for the tests of crossloom-model.

Run by hand: `pip install torch safetensors transformers==5.23.0`, then `python tests/oracle/make_method_fixtures.py [METHOD …]`. The tests themselves
need neither Python nor a network.

`fixtures/METHOD.safetensors` holds, beside the recipe in its metadata, and a tolerance where it is no computation in double precision,

    input.*            what crossloom's graph reads, states of an encoder among it
    weight.*, grad.*   every weight, and the gradient of the loss
    logits, loss       at all target positions
"""

import sys
from pathlib import Path

import torch
from methods import METHODS
from methods.model import BLOCKS, GRID, TARGETS, TEXT, VOCAB, WIDTH, Batch, Net, loss
from safetensors.torch import save_file

FOLDER = Path(__file__).resolve().parents[2] / "crates/crossloom-model/tests/methods/fixtures"
ROWS = 2


def batch(generator: torch.Generator) -> Batch:
    """Random states of all addresses, and text."""

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).float().double()

    addresses = ["embed", *(f"block.{block}" for block in range(1, BLOCKS + 1)), "post_norm"]
    states = {address: random(ROWS, GRID * GRID, WIDTH) for address in addresses}
    whole = torch.randint(0, VOCAB, (ROWS, TEXT + 1), generator=generator)
    return Batch(states, whole[:, :-1], whole[:, -TARGETS:])


def inputs(batch: Batch, visual: int) -> dict[str, torch.Tensor]:
    """The batch as crossloom's graphs read it, behind so many visual tokens."""
    length = visual + TEXT
    picture = torch.zeros(ROWS, visual, dtype=torch.int32)
    tokens = torch.cat([picture, batch.text.int()], 1)
    segments = torch.cat([picture, torch.ones_like(batch.text).int()], 1)
    given = {
        "tokens": tokens,
        "positions": torch.arange(length).int().repeat(ROWS, 1),
        "segments": segments,
        "text_mask": (segments > 0).float(),
        "target_index": torch.arange(length - TARGETS, length).int().repeat(ROWS, 1),
        "targets": batch.targets.int(),
        **{f"state.{address}": state.float() for address, state in batch.states.items()},
        **batch.extra,
    }
    if visual:
        given["image_index"] = torch.arange(visual).int().repeat(ROWS, 1)
    return given


def write(name: str) -> None:
    net, data = Net(3), batch(torch.Generator().manual_seed(7))
    logits = METHODS[name].logits(net, data)
    mean = loss(logits, data)
    mean.backward()
    visual = METHODS[name].visual
    tensors = {f"input.{key}": value for key, value in inputs(data, visual).items()}
    for key, value in net.weights.items():
        tensors[f"weight.{key}"] = value.detach().float()
        tensors[f"grad.{key}"] = value.grad
    tensors |= {"logits": logits.detach(), "loss": mean.detach().reshape(1)}
    tensors = {key: value.contiguous() for key, value in tensors.items()}
    FOLDER.mkdir(parents=True, exist_ok=True)
    metadata = {"recipe": METHODS[name].whole}
    if METHODS[name].tolerance is not None:
        metadata["tolerance"] = str(METHODS[name].tolerance)
    save_file(tensors, FOLDER / f"{name}.safetensors", metadata=metadata)


for chosen in sys.argv[1:] or METHODS:
    write(chosen)
