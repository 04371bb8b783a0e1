"""The settings of a training, with their defaults and limits."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from retrieval.arguments import integer, number, word
from retrieval.errors import BadInput
from retrieval.networks.catalogue import RANDOM, Backbone

ARCFACE, SUPCON, VICREG = "arcface", "supcon", "vicreg"
LOSSES = (ARCFACE, SUPCON, VICREG)
"""Names of the losses that a training can minimise; see `losses`."""
PICTURES, CLASSES = "pictures", "classes"
SPLITS = (PICTURES, CLASSES)
"""What can be held out: some pictures of all classes, or all pictures of some classes; see `split`."""
MOST = 2**31 - 1
"""Largest value of a count: TensorFlow takes counts as 32-bit integers."""
PER_CLASS = 4
"""Number of pictures of each class in a balanced batch, as in Hermans et al. 2017 (In defense of the triplet loss),
section 4.2."""
SMALLEST_BATCH = 2 * PER_CLASS
"""Smallest number of pictures in a batch: two classes of a balanced batch."""
EPOCHS, EPOCHS_FROM_SCRATCH = 20, 60
"""Largest number of epochs, by default."""
MOST_SEED = 2**32 - 1
"""Largest seed that Keras and numpy take."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides the result of a training, except the pictures."""

    backbone: Backbone
    weights: str
    """The weights that training starts from, as `weights.locate_weights` gives them; `RANDOM` for training from
    scratch."""
    loss: str = ARCFACE
    """One of `LOSSES`. `VICREG` needs no labels."""
    dim: int | None = None
    """Length of the vectors; None for 256, or for the number of the backbone's features if it has fewer."""
    epochs: int = EPOCHS
    """Largest number of epochs: passes over the training pictures."""
    unfreeze: float = 0.3
    """Share of the backbone's layers that are trained, counted from its end; 1 when training from scratch."""
    split: str = PICTURES
    """One of `SPLITS`: whether pictures of all classes are held out, or whole classes."""
    held_out: float = 0.2
    """Share of the pictures, or of the classes, that is held out."""
    batch: int = 64
    """Number of pictures per step."""
    seed: int = 0
    """Seed of all random draws."""

    @classmethod
    def of(cls, backbone: Backbone, weights: str, **given: Any) -> "Recipe":  # noqa: ANN401 - values of any field
        """Return a recipe of the fields `given`; a field that is missing or None has its default.

        The defaults of training from scratch differ: 60 epochs, all layers. Raises `BadInput` for a wrong value.
        """
        if backbone.is_model:
            raise BadInput(
                "a model of your own (.keras) has its head already and cannot be trained further",
                hint="start from a name of: retrieval backbones",
            )
        defaults = cls(backbone, weights)
        if weights == RANDOM:
            defaults = replace(defaults, epochs=EPOCHS_FROM_SCRATCH, unfreeze=1.0)
        recipe = replace(defaults, **{name: value for name, value in given.items() if value is not None})
        recipe.check()
        return recipe

    def check(self) -> None:
        """Raise `BadInput` for a value that is not allowed."""
        for name, known in (("loss", LOSSES), ("split", SPLITS)):
            value = word(getattr(self, name), name)
            if value not in known:
                raise BadInput(f"there is no {name} {value!r}", hint=f"choose one of: {', '.join(known)}")
        if self.dim is not None:
            integer(self.dim, "dim", 1, MOST)
        integer(self.epochs, "epochs", 1, MOST)
        integer(self.batch, "batch", SMALLEST_BATCH, MOST)
        integer(self.seed, "seed", 0, MOST_SEED)
        number(self.unfreeze, "unfreeze, a share of the layers,", 0, 1)
        if not 0 < number(self.held_out, "held_out, a share of the pictures,", 0, 1) < 1:
            raise BadInput(
                f"held_out, a share of the pictures, must be more than 0 and less than 1, not {self.held_out:g}"
            )

    @property
    def fresh(self) -> bool:
        """Whether training starts from random weights."""
        return self.weights == RANDOM

    @property
    def needs_labels(self) -> bool:
        """Whether the loss compares classes."""
        return self.loss != VICREG

    @property
    def balanced(self) -> bool:
        """Whether each batch has `PER_CLASS` pictures of each of its classes: SupCon compares pictures of a class."""
        return self.loss == SUPCON

    @property
    def head_epochs(self) -> int:
        """Number of the first epochs, in which only the head is trained and the backbone stays as it is."""
        if self.fresh:
            return 0
        if not self.unfreeze:
            return self.epochs
        return max(1, self.epochs // 4)

    @property
    def patience(self) -> int:
        """Number of epochs without a better validation after which training ends."""
        return max(5, self.epochs // 3)

    def as_dict(self) -> dict[str, Any]:
        """Return the recipe as JSON can hold it."""
        return asdict(self) | {"backbone": asdict(self.backbone) | {"input_size": list(self.backbone.input_size)}}
