"""Which pictures are for training, for validation or held out, and in which batches the network sees them.

All draws come from the seed of the recipe, so that a training that was stopped goes on with the same split and batches.
The functions of scikit-learn that split data sets (`train_test_split`, `StratifiedShuffleSplit`) cannot be used here:
they have no smallest number of pictures per class and no largest number of held-out pictures, and they would draw
another split than the one with which a stopped training began.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from retrieval.errors import BadInput
from retrieval.training.dataset import LEAST_PER_CLASS, Dataset
from retrieval.training.recipe import CLASSES, PER_CLASS, Recipe
from retrieval.types import Ids

VALIDATION = 0.1
"""Share of the pictures, or of the classes, that is for validation."""
MOST = 1000
"""Largest number of pictures for validation, and of held-out pictures."""
LEAST = 2
"""Smallest number of pictures or classes of each part: a query needs another picture of its class to find."""
SAMPLE = 4096
"""Approximate number of pictures from which the head of the network is computed before the training."""


@dataclass(frozen=True, slots=True)
class Split:
    """Numbers of the pictures of a data set, by purpose: ascending, and no picture is in two parts."""

    training: Ids
    """The network learns from these."""
    validation: Ids
    """The best epoch is chosen by these."""
    held_out: Ids
    """The result is measured on these. Nothing looks at them before the end."""


def split(dataset: Dataset, recipe: Recipe) -> Split:
    """Return which pictures are for training, for validation and held out; the same seed gives the same split.

    The share `recipe.held_out` is held out, and the share `VALIDATION` is for validation:

    - With labels and `recipe.split` "pictures", these are shares of the pictures of each class that has at least
      `LEAST_PER_CLASS` pictures, and at least `LEAST` pictures each.
    - With labels and `recipe.split` "classes", these are shares of the classes, and at least `LEAST` classes each.
    - Without labels, these are shares of all pictures.

    At most `MOST` pictures are held out, and at most `MOST` are for validation. To keep these limits, only some classes
    give pictures, or large classes give fewer. All other pictures are for training, except those of held-out and
    validation classes. Raises `BadInput` if too few pictures or classes are left.
    """
    generator = np.random.default_rng(recipe.seed)
    if not dataset.labelled:
        return _by_pictures_without_labels(dataset, recipe, generator)
    if recipe.split == CLASSES:
        return _by_classes(dataset, recipe, generator)
    return _by_pictures(dataset, recipe, generator)


def _by_pictures_without_labels(dataset: Dataset, recipe: Recipe, generator: np.random.Generator) -> Split:
    order = generator.permutation(len(dataset.labels))
    held_out = _count(recipe.held_out, len(order), MOST)
    validation = _count(VALIDATION, len(order), MOST)
    if held_out + validation > len(order) - LEAST:
        raise BadInput(
            f"if {recipe.held_out:g} of the pictures are held out, too few are left for training",
            hint="give a smaller --held-out",
        )
    return _rest_for_training(dataset, order[:held_out], order[held_out : held_out + validation])


def _by_pictures(dataset: Dataset, recipe: Recipe, generator: np.random.Generator) -> Split:
    members = [np.flatnonzero(dataset.labels == label) for label in range(len(dataset.class_names))]
    large = [generator.permutation(rows) for rows in members if len(rows) >= LEAST_PER_CLASS]
    if len(large) < LEAST:  # with one class alone, every answer would be right
        raise BadInput(
            f"fewer than two classes have {LEAST_PER_CLASS} pictures, the smallest number to hold some of them out",
            hint="add more pictures, or hold out whole classes with: --split classes",
        )
    drawn = [large[position] for position in generator.permutation(len(large))[: MOST // LEAST]]
    most = MOST // len(drawn)
    held_out: list[Ids] = []
    validation: list[Ids] = []
    for rows in drawn:
        for_validation = _count(VALIDATION, len(rows), most)
        # At least two pictures of the class are left for training.
        for_measuring = max(LEAST, min(most, round(recipe.held_out * len(rows)), len(rows) - for_validation - LEAST))
        held_out.append(rows[:for_measuring])
        validation.append(rows[for_measuring : for_measuring + for_validation])
    return _rest_for_training(dataset, np.concatenate(held_out), np.concatenate(validation))


def _by_classes(dataset: Dataset, recipe: Recipe, generator: np.random.Generator) -> Split:
    count = len(dataset.class_names)
    held_out = _count(recipe.held_out, count, MOST // LEAST)
    validation = _count(VALIDATION, count, MOST // LEAST)
    if held_out + validation > count - LEAST:
        raise BadInput(
            f"with {held_out} of {count} classes held out and {validation} for validation, fewer than two are left for "
            "training",
            hint="give a smaller --held-out, or hold out pictures of all classes with: --split pictures",
        )
    order = generator.permutation(count)
    held_out_rows = _drawn_from_classes(dataset, order[:held_out], generator)
    validation_rows = _drawn_from_classes(dataset, order[held_out : held_out + validation], generator)
    training_rows = np.flatnonzero(np.isin(dataset.labels, order[held_out + validation :]))
    return Split(training_rows, np.sort(validation_rows), np.sort(held_out_rows))


def _count(share: float, total: int, most: int) -> int:
    """Return `share` of `total` as a whole number from `LEAST` to `most`."""
    return max(LEAST, min(most, round(share * total)))


def _drawn_from_classes(dataset: Dataset, labels: Ids, generator: np.random.Generator) -> Ids:
    """Return pictures of these classes in random order: as many of each class, if it has them, and at most `MOST`."""
    members = [generator.permutation(np.flatnonzero(dataset.labels == label)) for label in labels]
    return np.concatenate([rows[: MOST // len(labels)] for rows in members])


def _rest_for_training(dataset: Dataset, held_out: Ids, validation: Ids) -> Split:
    """Return a split in which all pictures outside the two given parts are for training."""
    training = np.setdiff1d(np.arange(len(dataset.labels)), np.concatenate([held_out, validation]))
    return Split(training, np.sort(validation), np.sort(held_out))


def sample(dataset: Dataset, rows: Ids) -> Ids:
    """Return about `SAMPLE` of the pictures `rows`, ascending, at least two of each class; always the same ones."""
    most_per_class = max(LEAST, SAMPLE // max(1, len(dataset.class_names)))
    shuffled = np.random.default_rng(0).permutation(rows)
    by_class = shuffled[np.argsort(dataset.labels[shuffled], kind="stable")]
    _, first, counts = np.unique(dataset.labels[by_class], return_index=True, return_counts=True)
    position_in_class = np.arange(len(by_class)) - np.repeat(first, counts)
    return np.sort(by_class[position_in_class < most_per_class])


def batches(labels: Ids, recipe: Recipe, epoch: int) -> Iterator[Ids]:
    """Yield the batches of one epoch, each as positions in `labels`; the same seed and epoch give the same batches.

    An epoch has `steps_per_epoch` batches. A balanced batch has `PER_CLASS` pictures of each of its classes, or more if
    there are few classes. If a class has too few pictures, some of them come twice.
    """
    generator = np.random.default_rng((recipe.seed, epoch))
    size = min(recipe.batch, len(labels))
    steps = steps_per_epoch(len(labels), recipe)
    if recipe.balanced:
        yield from _balanced_batches(labels, size, steps, generator)
        return
    order = generator.permutation(len(labels))
    for step in range(steps):
        yield order[step * size : (step + 1) * size]


def _balanced_batches(labels: Ids, size: int, steps: int, generator: np.random.Generator) -> Iterator[Ids]:
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    per_class = max(PER_CLASS, size // len(members))
    classes_per_batch = max(LEAST, size // per_class)
    for _ in range(steps):
        classes: Sequence[int] = generator.permutation(len(members))[:classes_per_batch].tolist()
        drawn = [
            generator.choice(members[number], per_class, replace=len(members[number]) < per_class) for number in classes
        ]
        yield np.concatenate(drawn)


def steps_per_epoch(count: int, recipe: Recipe) -> int:
    """Return the number of batches of one epoch over `count` pictures: the number of full batches, but at least one."""
    return max(1, count // recipe.batch)
