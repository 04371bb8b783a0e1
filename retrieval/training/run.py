"""Training, from a folder of pictures to a `.keras` file that can be indexed with: fine-tuned, or from scratch.

    gather, split, decode -> learn an epoch -> validate -> keep all of it -> … -> measure what was held out -> save
                             └──────────── goes on here, whatever stopped it ┘

Whatever a run needs to go on lies in a folder beside the result: see `checkpoint`.
"""

import json
import logging
import math
import os
import shutil
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from retrieval import __version__, plugins
from retrieval.arguments import call, flag, text_path
from retrieval.errors import BadWeights, RetrievalError, StorageError, reason_of
from retrieval.measuring.evaluate import MEASURES, average_precision, gained
from retrieval.networks import compiled, loading, weights
from retrieval.networks.catalogue import RANDOM, Backbone
from retrieval.networks.encoder import AUTO, Execution
from retrieval.training import dataset
from retrieval.training import split as splits
from retrieval.training.checkpoint import LOG, PLOT, SETTINGS, Kept, Numbers, Work
from retrieval.training.dataset import Gathered, Lessons
from retrieval.training.recipe import Recipe
from retrieval.training.result import FACTS, Trained, Vectorise, judged, measured_on, plotted, units
from retrieval.training.split import Split
from retrieval.types import Ids, Pixels, displayed

CHECKED = 8
"""Pictures of which the vectors of the file are held against those of the training."""
COPIES = 11
"""Times the bytes of the network that a run needs on disk: a checkpoint has its numbers, two more of the optimizer, the
first and the best ones; while one is written, the one before is still there; and there is the result."""
MOST_LEFT_OUT = 5
"""Files that are named which are not learnt from."""
SHARES = (0.25, 0.5, 1.0)
"""Ways from the network that learning began with to the one of an epoch, that are tried each time. What has learnt from
few pictures forgets; between the two lies what is better than both for what was not learnt from (Wortsman et al. 2022,
Robust fine-tuning of zero-shot models, arXiv 2109.01903)."""

NOTHING = {"recall@1": 0.0, "map": 0.0, "share": 1.0}
"""What is found with a network whose numbers are none any more."""

log = logging.getLogger("retrieval")


@dataclass(frozen=True, slots=True)
class Step:
    """How far a training is."""

    epoch: int
    """From 1; 0 while pictures are decoded."""
    epochs: int
    done: int
    """Steps, or pictures that are decoded."""
    total: int
    pictures_per_second: float = 0.0
    loss: float | None = None
    """Mean of the epoch so far."""
    recall: float | None = None
    """Recall@1 of the validation, after the latest epoch."""


def train(
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    recipe: Recipe,
    *,
    table: str | os.PathLike[str] | None = None,
    resume: bool = False,
    force: bool = False,
    threads: int = 0,
    progress: Callable[[Step], None] = lambda _: None,
) -> Trained:
    """Train by `recipe` on the pictures below `folder`, and write the network to `out`.

    Their labels are their subfolders, or what a `table` says, a CSV with `path` and `label`; VICReg needs none.
    Interrupted, it leaves the latest epoch, and goes on from there with `resume`. With `force`, what is at `out`, and
    what an interrupted run has left, is overwritten. `threads` decode, 0 for one a core. Raises `BadInput`,
    `StorageError`, and what building and loading the backbone raises.
    """
    folder, out = Path(text_path(folder, "the folder")), Path(text_path(out, "the file to write"))
    table = None if table is None else text_path(table, "the table")
    recipe.check()
    run = _Run(folder, out, recipe, table, Execution.of(AUTO, AUTO, threads).workers, call(progress, "progress"))
    resumed = run.work.demand(run.settings, resume=flag(resume, "resume"), force=flag(force, "force"))
    try:
        return run.whole(resumed=resumed)
    except KeyboardInterrupt:
        log.warning("%s", run.left)
        raise
    except OSError as error:
        if isinstance(error, RetrievalError):
            raise
        sentence = f"the training cannot be kept in {displayed(run.work.folder)}: {reason_of(error)}"
        raise StorageError(sentence, hint="free some space, then go on with the same and --resume") from error


class _Run:
    """One training, from beginning to end or from where it was left."""

    def __init__(
        self,
        folder: Path,
        out: Path,
        recipe: Recipe,
        table: str | os.PathLike[str] | None,
        threads: int,
        progress: Callable[[Step], None],
    ) -> None:
        self.folder, self.recipe, self.table = folder, recipe, table
        self.threads, self.progress = threads, progress
        self.work = Work(out)
        self.kept = Kept()
        self.saved = 0
        """The epoch of the latest checkpoint."""

    @property
    def settings(self) -> dict[str, Any]:
        """What a run that goes on has to have in common with what it was begun as."""
        table = None if self.table is None else os.path.realpath(self.table)
        return {"folder": os.path.realpath(self.folder), "labels": table} | self.recipe.as_dict()

    @property
    def left(self) -> str:
        """What an interruption leaves, and how to go on."""
        if not self.work.begun:
            return "learning had not begun, so nothing is kept"
        kept = f"epoch {self.saved} is kept" if self.saved else "what was prepared is kept, no epoch was finished"
        return f"{kept}; go on with the same and --resume"

    def whole(self, *, resumed: bool) -> Trained:
        """Do what is not done yet."""
        found = None if resumed else self._gathered()
        learner = plugins.load("training:Learner")(self.recipe)  # whatever is wrong with it is known before long work
        with self.work.held(resumed=resumed):
            known = self._prepared(found)
            split = splits.split(known, self.recipe)
            learner.prepare(len(np.unique(known.labels[split.learnt])), splits.steps(len(split.learnt), self.recipe))
            if resumed:
                self._restore(learner)
            else:
                self._begin(learner, known, split)
            where = displayed(self.work.folder / LOG)
            log.warning("%s learns, by %s; the log is %s", self.recipe.backbone, self.recipe.loss, where)
            try:
                while not self._over():
                    self._epoch(learner, known, split)
            finally:
                plotted(self.kept.rows, self.work.folder / PLOT)
            return self._finished(learner, known, split)

    def _gathered(self) -> Gathered:
        skip = self.work.folder if self.work.folder.exists() else None
        found = dataset.gathered(self.folder, self.table, needed=self.recipe.needs_labels, skip=skip)
        height, width = self.recipe.backbone.input_size
        needed = COPIES * 4 * self.recipe.backbone.architecture.parameters + 3 * height * width * len(found.files)
        free = shutil.disk_usage(self.work.out.parent).free
        if free < needed:
            counts = f"{len(found.files)} pictures takes {needed / 1e9:.1f} GB on disk, and {free / 1e9:.1f} are free"
            raise StorageError(f"a training of {counts}", hint="free some space, or give an --out on another disk")
        return found

    def _prepared(self, found: Gathered | None) -> Lessons:
        """Decode what was gathered, or return what was decoded before; and say what is not used."""
        recipe = self.recipe
        if found is None:
            try:
                return dataset.prepared(self.work.folder)
            except (OSError, ValueError, LookupError) as error:
                raise self.work.broken() from error
        decoded = partial(Step, 0, recipe.epochs, total=len(found.files))
        known = dataset.prepare(
            found,
            recipe.backbone.input_size,
            self.work.folder,
            needed=recipe.needs_labels,
            threads=self.threads,
            progress=lambda done: self.progress(decoded(done=done)),
        )
        for sentence in known.left_out[:MOST_LEFT_OUT]:
            log.warning("%s", sentence)
        if len(known.left_out) > MOST_LEFT_OUT:
            log.warning("and %s more", len(known.left_out) - MOST_LEFT_OUT)
        return known

    def _begin(self, learner: Any, known: Lessons, split: Split) -> None:  # noqa: ANN401 - a Learner, unimported
        """Make the head, and keep the first state to go on from."""
        if not self.recipe.fresh:
            rows = splits.sample(known, split.learnt)
            learner.begin(known.batches(rows), _places(known.labels[rows]))
            self.kept.first = learner.weights
        learner.enter(0)
        self._validate(learner, known, split, 0)
        self.work.keep(self.kept, learner.state)
        self.work.write(SETTINGS, json.dumps(self.settings, indent=1))

    def _restore(self, learner: Any) -> None:  # noqa: ANN401 - likewise
        def load(kept: Kept, state: list[Numbers]) -> None:
            learner.enter(max(0, kept.epoch - 1))
            learner.restore(state)
            self.kept, self.saved = kept, kept.epoch

        self.work.restored(load)

    def _over(self) -> bool:
        kept, recipe = self.kept, self.recipe
        waited = kept.epoch - max(kept.latest, recipe.head_epochs if recipe.unfreeze else 0)
        lost = bool(kept.rows) and not math.isfinite(kept.rows[-1]["loss"])
        if lost:
            log.warning("the loss is no number any more; what was best before that is kept")
        return kept.epoch >= recipe.epochs or waited >= recipe.patience or lost

    def _epoch(self, learner: Any, known: Lessons, split: Split) -> None:  # noqa: ANN401 - likewise
        """Learn from each picture once, but for those of a last batch that is not full; validate, and keep all."""
        kept, recipe, start = self.kept, self.recipe, time.perf_counter()
        labels = _places(known.labels[split.learnt])
        learner.enter(kept.epoch)
        losses: list[float] = []
        seen, total = 0, splits.steps(len(labels), recipe)
        recall = kept.rows[-1]["recall@1"] if kept.rows else None
        for places in splits.epoch(labels, recipe, kept.epoch):
            losses.append(learner.learn(known.pixels(split.learnt[places]), labels[places]))
            seen += len(places)
            rate = seen / (time.perf_counter() - start)
            done = (kept.epoch + 1, recipe.epochs, len(losses), total)
            self.progress(Step(*done, rate, float(np.mean(losses)), recall))
        loss, found = float(np.mean(losses)), NOTHING
        if math.isfinite(loss):
            found = self._validate(learner, known, split, kept.epoch + 1)
        kept.epoch += 1
        row = {"epoch": kept.epoch, "seconds": time.perf_counter() - start, "loss": loss}
        kept.rows.append(row | found)
        self.work.keep(kept, learner.state)
        self.saved = kept.epoch

    def _validate(self, learner: Any, known: Lessons, split: Split, epoch: int) -> dict[str, float]:  # noqa: ANN401 - likewise
        """Return how good the network is by the validation, and note it where it is surely better than the best.

        The better of the network as it is and those on its way from the first: see `SHARES`. None is noted whose
        recall@1 is less than the first's.
        """
        kept, now, tried = self.kept, learner.weights, []
        for share in SHARES if kept.first and epoch else [1.0]:
            learner.take(mixed := _between(kept.first, now, share))
            found = judged(learner.vectors, known, split.validation, known.size)
            precisions = [average_precision(one) for one in found]
            recall = float(np.mean([MEASURES["recall@1"](one) for one in found]))
            tried.append({"recall@1": recall, "map": float(np.mean(precisions)), "share": share})
            merit = _merit(tried[-1])
            if merit > kept.highest:
                kept.highest, kept.latest = merit, epoch
            if not epoch:
                kept.asked, kept.recall = precisions, recall
            if merit > kept.best and recall >= kept.recall and self._surely_better(precisions, known, split, epoch):
                kept.best, kept.best_share, kept.best_epoch, kept.weights = merit, share, epoch, mixed
        learner.take(now)
        return max(tried, key=_merit)

    def _surely_better(self, precisions: Sequence[float], known: Lessons, split: Split, epoch: int) -> bool:
        """Tell whether answers are better than those of the first network by more than chance.

        Of many epochs, some are the best by luck. From scratch there is nothing to lose.
        """
        if self.recipe.fresh or not epoch:
            return True
        return gained(self.kept.asked, precisions, units(known, self.recipe.split, split.validation)).low > 0

    # -- the end --------------------------------------------------------------------------------------------------

    def _finished(self, learner: Any, known: Lessons, split: Split) -> Trained:  # noqa: ANN401 - likewise
        """Measure, save, and delete what is not needed any more."""
        kept, recipe, out = self.kept, self.recipe, self.work.out
        learner.finish(kept.weights)
        measure = partial(measured_on, known=known, rows=split.held_out, split=recipe.split)
        before = [measure(name, *reference) for name, reference in self._references()]
        after = measure(displayed(out.name), learner.vectors, known.size)
        together = units(known, recipe.split, split.held_out)
        gain = gained(before[-1].precisions, after.precisions, together)
        counts = len(after.precisions), kept.best_epoch, kept.epoch
        trained = Trained(out, *counts, before, after, gain, known.left_out)
        facts = {"pictures": len(split.learnt), "classes": len(known.names), "recipe": recipe.as_dict()}
        facts |= {"share": kept.best_share, "log": kept.rows, "retrieval": __version__}
        with self.work.result() as unfinished:
            learner.save(unfinished)
            with zipfile.ZipFile(unfinished, "a") as file:
                file.writestr(FACTS, json.dumps(trained.as_dict() | facts, indent=1))
            self._demand_readable(unfinished, learner, known.pixels(split.held_out[:CHECKED]))
        self.work.finish()
        return trained

    def _references(self) -> Iterator[tuple[str, tuple[Vectorise, tuple[int, int]]]]:
        """Yield what the result is to be better than: where it came from, and from scratch, what is at hand too."""
        backbone, where = self.recipe.backbone, self.recipe.weights
        if not self.recipe.fresh:
            yield f"{backbone} as it is", _reference(backbone, where)
            return
        yield "random weights", _reference(backbone, where)
        try:
            best, where = weights.at_hand()
            yield f"{best} as it is", _reference(best, where)
        except RetrievalError as error:  # which does no harm to what was trained
            log.warning("it cannot be held against what is at hand: %s", error)

    def _demand_readable(self, path: Path, learner: Any, pixels: Pixels) -> None:  # noqa: ANN401 - likewise
        """Raise `BadWeights` unless an index that is made with the file has these vectors."""
        encoder = loading.load(Backbone.choose(os.fspath(path)), os.fspath(path))
        cosines = (learner.vectors([pixels]) * encoder.images(pixels)).sum(axis=1)
        if cosines.min() < compiled.PARITY:
            raise BadWeights(f"{displayed(path)} does not give the vectors that were trained", hint="this is a bug")


def _merit(found: Mapping[str, float]) -> float:
    """Return what a validation is judged by: recall@1, and mAP, as the first alone of a hundred pictures is coarse."""
    return found["recall@1"] + found["map"]


def _between(first: Sequence[Numbers], now: Sequence[Numbers], share: float) -> list[Numbers]:
    """Return numbers that are so much of the way from the first to those of now."""
    if share == 1:
        return list(now)
    return [np.asarray(one + share * (two - one), two.dtype) for one, two in zip(first, now, strict=True)]


def _places(labels: Ids) -> Ids:
    """Return numbers from 0 for the classes that are there, `dataset.NONE` for none."""
    numbers = np.searchsorted(np.unique(labels[labels >= 0]), labels)
    return np.where(labels >= 0, numbers, dataset.NONE)


def _reference(backbone: Backbone, where: str) -> tuple[Vectorise, tuple[int, int]]:
    keras = plugins.load("runtime:keras")  # of random numbers, `loading.load` would warn
    encoder = keras(backbone, where, accelerated=False) if where == RANDOM else loading.load(backbone, where)
    return (lambda some: np.concatenate([encoder.images(pixels) for pixels in some])), encoder.size
