"""What each picture is for: to learn from, to choose the best epoch by, or to measure in the end; and batches."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from retrieval.errors import BadInput
from retrieval.training.dataset import LEAST, Lessons
from retrieval.training.recipe import CLASSES, EACH, Recipe
from retrieval.types import Ids

VALIDATION = 0.1
"""Share of the pictures, or classes, by which the best epoch is chosen."""
MOST = 1000
"""Pictures of the validation, and of what is held out, at most."""
SAMPLE = 4096
"""Pictures that a head is first made of, about."""


@dataclass(frozen=True, slots=True)
class Split:
    """Rows of the lessons by what they are for; ascending, and none in two."""

    learnt: Ids
    validation: Ids
    held_out: Ids


def split(lessons: Lessons, recipe: Recipe) -> Split:
    """Return which pictures are for what, always the same for the same seed; `BadInput` where they are too few.

    By pictures: of each class of `LEAST` or more, the share that the recipe says is held out, and `VALIDATION` is for
    choosing; two at least each, and of smaller classes none. By classes: these shares of the classes, two at least
    each. Without labels: these shares of the pictures. No more than `MOST` in either: of many classes some, of large
    ones some pictures; the others are learnt from, unless their class is held out.
    """
    chance = np.random.default_rng(recipe.seed)
    if not lessons.labelled:
        rows = chance.permutation(len(lessons.labels))
        held, chosen = (max(2, min(MOST, round(share * len(rows)))) for share in (recipe.held_out, VALIDATION))
        if held + chosen > len(rows) - 2:
            raise _too_few(recipe)
        return _parted(lessons, rows[:held], rows[held : held + chosen])
    if recipe.split == CLASSES:
        return _by_classes(lessons, recipe, chance)
    members = [np.flatnonzero(lessons.labels == label) for label in range(len(lessons.names))]
    able = [chance.permutation(rows) for rows in members if len(rows) >= LEAST]
    if len(able) < 2:  # noqa: PLR2004 - of one class alone, every answer is right
        raise BadInput(
            f"fewer than two classes have {LEAST} pictures, of which some could be held out",
            hint="give more pictures, or hold out whole classes with: --split classes",
        )
    able = [able[at] for at in chance.permutation(len(able))[: MOST // 2]]
    most = MOST // len(able)
    held_out, validation = [], []
    for rows in able:
        chosen = max(2, min(most, round(VALIDATION * len(rows))))
        held = max(2, min(most, round(recipe.held_out * len(rows)), len(rows) - chosen - 2))
        held_out.append(rows[:held])
        validation.append(rows[held : held + chosen])
    return _parted(lessons, np.concatenate(held_out), np.concatenate(validation))


def _by_classes(lessons: Lessons, recipe: Recipe, chance: np.random.Generator) -> Split:
    count = len(lessons.names)
    held, chosen = (max(2, min(MOST // 2, round(share * count))) for share in (recipe.held_out, VALIDATION))
    if held + chosen > count - 2:
        raise BadInput(
            f"to hold out {held} of {count} classes, and {chosen} to choose by, leaves fewer than two to learn from",
            hint="hold out less, or pictures of all classes with: --split pictures",
        )
    order = chance.permutation(count)
    parts = []
    for some in (order[:held], order[held : held + chosen]):
        members = [chance.permutation(np.flatnonzero(lessons.labels == label)) for label in some]
        parts.append(np.concatenate([rows[: MOST // len(some)] for rows in members]))
    seen = np.flatnonzero(np.isin(lessons.labels, order[held + chosen :]))
    return Split(seen, np.sort(parts[1]), np.sort(parts[0]))


def _parted(lessons: Lessons, held_out: Ids, validation: Ids) -> Split:
    """Return the split in which all that is for nothing else is learnt from."""
    rest = np.setdiff1d(np.arange(len(lessons.labels)), np.concatenate([held_out, validation]))
    return Split(rest, np.sort(validation), np.sort(held_out))


def _too_few(recipe: Recipe) -> BadInput:
    return BadInput(
        f"to hold out {recipe.held_out:g} of the pictures leaves too few to learn from",
        hint="give a smaller --held-out",
    )


def sample(lessons: Lessons, rows: Ids) -> Ids:
    """Return about `SAMPLE` of the rows, always the same; two of each class, or more, where there are so many."""
    each = max(2, SAMPLE // max(1, len(lessons.names)))
    mixed = np.random.default_rng(0).permutation(rows)
    mixed = mixed[np.argsort(lessons.labels[mixed], kind="stable")]
    _, first, counts = np.unique(lessons.labels[mixed], return_index=True, return_counts=True)
    return np.sort(mixed[np.arange(len(mixed)) - np.repeat(first, counts) < each])


def epoch(labels: Ids, recipe: Recipe, number: int) -> Iterator[Ids]:
    """Yield the batches of one pass, each as places in `labels`; the same for the same seed and number.

    As many as whole batches fit, one at least. Balanced ones have `EACH` pictures of each class in them, or more where
    there are fewer classes; a picture comes again where its class has too few.
    """
    chance = np.random.default_rng((recipe.seed, number))
    size = min(recipe.batch, len(labels))
    if not recipe.balanced:
        order = chance.permutation(len(labels))
        yield from (order[start * size :][:size] for start in range(steps(len(labels), recipe)))
        return
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    each = max(EACH, size // len(members))
    for _ in range(steps(len(labels), recipe)):
        drawn = chance.permutation(len(members))[: max(2, size // each)]
        yield np.concatenate([_drawn(members[one], each, chance) for one in drawn.tolist()])


def _drawn(rows: Ids, count: int, chance: np.random.Generator) -> Ids:
    return chance.choice(rows, count, replace=len(rows) < count)


def steps(count: int, recipe: Recipe) -> int:
    """Return how many batches one pass over so many pictures has."""
    return max(1, count // recipe.batch)
