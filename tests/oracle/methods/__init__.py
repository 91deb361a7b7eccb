"""Injection methods from their equations, in PyTorch. Nothing here is crossloom's."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from .model import Batch, Net


@dataclass
class Method:
    """A method: how a recipe says it, and the logits that it gives."""

    recipe: str
    logits: Callable[[Net, Batch], Tensor]
    in_sequence: bool
    merge: int  # side of the blocks of patches that are one visual token


METHODS: dict[str, Method] = {}


def method(name: str, recipe: str, in_sequence: bool = True, merge: int = 1) -> Callable:
    """Registers a function under the name of its fixture; whether visual tokens are in the sequence."""

    def register(logits: Callable[[Net, Batch], Tensor]) -> Callable:
        METHODS[name] = Method(recipe, logits, in_sequence, merge)
        return logits

    return register


from . import connectors, cross_attention, windows  # noqa: E402, F401
