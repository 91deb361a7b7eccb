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
    tolerance: float | None

    @property
    def whole(self) -> str:
        """The recipe with all dimensions."""
        return self.recipe + RECIPE.replace("PROJECTOR", self.projector)


METHODS: dict[str, Method] = {}


def method(
    name: str, recipe: str, visual: int = GRID * GRID, projector: str = "hidden = 10", tolerance: float | None = None
) -> Callable:
    """Registers a function under the name of its fixture, with the visual tokens that are in the sequence, what the recipe says of its
    projector, and how exactly it computes where that is not in double precision."""

    def register(logits: Callable[[Net, Batch], Tensor]) -> Callable:
        METHODS[name] = Method(recipe, logits, visual, projector, tolerance)
        return logits

    return register


def extending(name: str, more: str = "") -> str:
    """A recipe that is a shipped method and what a test adds."""
    return f'name = "x"\nextends = ["methods/{name}.toml"]\n{more}'


from . import connectors, cross_attention, layer_select, mixtures, published, several, stacks, windows  # noqa: E402, F401
