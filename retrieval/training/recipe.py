"""How a network is trained: what is chosen for a run, and the numbers that stand behind it."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from retrieval.arguments import integer, number, word
from retrieval.errors import BadInput
from retrieval.networks.catalogue import RANDOM, Backbone

ARCFACE, SUPCON, VICREG = LOSSES = ("arcface", "supcon", "vicreg")
PICTURES, CLASSES = SPLITS = ("pictures", "classes")
MOST = 2**31 - 1
"""Largest of its counts: TensorFlow takes them as 32 bits."""
EACH = 4
"""Pictures of a class in a balanced batch, as in Hermans et al. 2017 (In defense of the triplet loss), section 4.2."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that decides what comes out of a training, but for the pictures."""

    backbone: Backbone
    weights: str
    """Where it starts from, as `weights.locate_weights` gives it; `RANDOM` for a training from scratch."""
    loss: str = ARCFACE
    """One of `LOSSES`; `VICREG` needs no labels."""
    dim: int | None = None
    """Length of the vectors; None for 256, or for as many features as the backbone has, if these are fewer."""
    epochs: int = 20
    unfreeze: float = 0.3
    """Share of the backbone's layers, from the top, that learn too; all of them from scratch."""
    split: str = PICTURES
    """Whether pictures of all classes are held out, or whole classes."""
    held_out: float = 0.2
    """Share that is held out and never learnt from."""
    batch: int = 64
    seed: int = 0

    @classmethod
    def of(cls, backbone: Backbone, weights: str, **given: Any) -> "Recipe":  # noqa: ANN401 - fields, None for defaults
        """Return a recipe with the defaults that suit its beginning; `BadInput` for what makes no sense."""
        if backbone.is_model:
            raise BadInput("a model of your own has its head already", hint="start from a name of: retrieval backbones")
        fresh: dict[str, Any] = {"epochs": 60, "unfreeze": 1.0} if weights == RANDOM else {}
        recipe = replace(
            cls(backbone, weights, **fresh), **{key: value for key, value in given.items() if value is not None}
        )
        recipe.check()
        return recipe

    def check(self) -> None:
        """Raise `BadInput` for what makes no sense."""
        for name, known in (("loss", LOSSES), ("split", SPLITS)):
            if word(getattr(self, name), name) not in known:
                raise BadInput(f"there is no {name} {getattr(self, name)!r}", hint=f"there are: {', '.join(known)}")
        for name, least in (("dim", 1), ("epochs", 1), ("batch", 2 * EACH)):
            if (value := getattr(self, name)) is not None:
                integer(value, name, least, MOST)
        integer(self.seed, "seed", 0, 2**32 - 1)
        number(self.unfreeze, "unfreeze, a share of the layers,", 0, 1)
        if not 0 < number(self.held_out, "what is held out, a share,", 0, 1) < 1:
            raise BadInput(f"what is held out is a share, more than 0 and less than 1, not {self.held_out:g}")

    @property
    def fresh(self) -> bool:
        """Whether it starts from random numbers."""
        return self.weights == RANDOM

    @property
    def needs_labels(self) -> bool:
        """Whether its loss is about classes."""
        return self.loss != VICREG

    @property
    def balanced(self) -> bool:
        """Whether each batch has `EACH` pictures of each of its classes, for a loss that compares them."""
        return self.loss == SUPCON

    @property
    def head_epochs(self) -> int:
        """Epochs in which only what was added to the backbone learns."""
        return 0 if self.fresh else self.epochs if not self.unfreeze else max(1, self.epochs // 4)

    @property
    def patience(self) -> int:
        """Epochs without a better one, after which a training ends."""
        return max(5, self.epochs // 3)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON knows it."""
        return asdict(self) | {"backbone": asdict(self.backbone) | {"input_size": list(self.backbone.input_size)}}
