"""Injection methods from their equations, in PyTorch. Nothing here is crossloom's."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from .model import GRID, RECIPE, Batch, Net


@dataclass
class Method:
    """A method: how a recipe says it, and the logits that it gives."""

    recipe: str
    logits: Callable[[Net, Batch], Tensor]
    visual: int
    projector: str

    @property
    def whole(self) -> str:
        """The recipe with all dimensions."""
        return self.recipe + RECIPE.replace("PROJECTOR", self.projector)


METHODS: dict[str, Method] = {}


def method(name: str, recipe: str, visual: int = GRID * GRID, projector: str = "hidden = 10") -> Callable:
    """Registers a function under the name of its fixture, with the visual tokens that are in the sequence, and what the recipe says of
    its projector."""

    def register(logits: Callable[[Net, Batch], Tensor]) -> Callable:
        METHODS[name] = Method(recipe, logits, visual, projector)
        return logits

    return register


def extending(name: str, more: str = "") -> str:
    """A recipe that is a shipped method and what a test adds."""
    return f'name = "x"\nextends = ["methods/{name}.toml"]\n{more}'


from . import connectors, cross_attention, mixtures, stacks, windows  # noqa: E402, F401
