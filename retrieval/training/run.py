"""A training from start to end: from a folder of pictures to a `.keras` file that an index can be made with.

    find files, decode, split -> train an epoch -> validate -> save a checkpoint -> ... -> measure on held-out pictures
                                 └── goes on here after a stop ──┘                        -> save the network

Everything that a training needs to go on lies in a folder beside the result: see `checkpoint`.
"""

import json
import logging
import math
import os
import shutil
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from retrieval import __version__, plugins
from retrieval.arguments import call, flag, text_path
from retrieval.errors import BadWeights, RetrievalError, StorageError, reason_of
from retrieval.measuring.metrics import MEASURES, average_precision, gain
from retrieval.networks import loading, weights
from retrieval.networks.catalogue import RANDOM, Backbone
from retrieval.networks.execution import AUTO, Execution
from retrieval.networks.parity import PARITY
from retrieval.training import dataset as datasets
from retrieval.training import split as splits
from retrieval.training.checkpoint import LOG, PLOT, SETTINGS, Arrays, Checkpoint, TrainingFolder
from retrieval.training.dataset import NO_LABEL, Dataset, LabelledFiles
from retrieval.training.recipe import Recipe
from retrieval.training.result import (
    FACTS,
    Embed,
    NetworkQuality,
    TrainingResult,
    answers_among,
    dependent_groups,
    plot,
    quality_of,
)
from retrieval.training.split import Split
from retrieval.types import Ids, Pixels, Vectors, displayed

if TYPE_CHECKING:
    from retrieval.training.learner import Learner

CHECKED = 8
"""Number of pictures whose vectors the saved file must reproduce."""
COPIES = 11
"""Disk space that a training needs, in copies of the network. A checkpoint holds 5: the numbers of the network, two
more numbers for each from the optimizer, the numbers before training and the best ones. While a checkpoint is written,
the one before it is still there: 10. The result is the last one."""
FLOAT32 = 4
"""Size of a number, in bytes."""
MOST_LEFT_OUT = 5
"""Largest number of left-out files that are named in the log one by one."""
SHARES = (0.25, 0.5, 1.0)
"""After each epoch, networks between the one before training (0) and the one now (1) are tried. Training on few
pictures forgets; a mixture can be better than both on what was not trained (Wortsman et al. 2022, Robust fine-tuning of
zero-shot models, arXiv 2109.01903)."""
NO_QUALITY = {"recall@1": 0.0, "map": 0.0, "share": 1.0}
"""The validation of a network whose loss is infinite or not a number."""

log = logging.getLogger("retrieval")


@dataclass(frozen=True, slots=True)
class Step:
    """How far a training is, for a progress bar."""

    epoch: int
    """Number of the epoch, from 1; 0 while pictures are decoded."""
    epochs: int
    """Largest number of epochs that are trained."""
    done: int
    """Number of steps of the epoch that are done; while pictures are decoded, number of files that were read."""
    total: int
    """Number of steps of the epoch, or of files to read."""
    pictures_per_second: float = 0.0
    loss: float | None = None
    """Mean loss of the epoch so far."""
    recall: float | None = None
    """Recall@1 of the validation after the latest epoch."""


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
) -> TrainingResult:
    """Train by `recipe` on the pictures below `folder`, write the network to `out`, and return its quality.

    The label of a picture is the name of its subfolder, or its label in `table`, a CSV with the columns path and label.
    VICReg needs no labels. After an interruption, `resume` goes on after the latest completed epoch. `force` overwrites
    `out` and the files of an interrupted training. `threads` is the number of threads that decode; 0 stands for one per
    core. Raises `MissingLibrary`, `BadInput`, `StorageError`, and what building and loading the backbone raises.
    """
    plugins.demand("training:Learner")
    folder, out = Path(text_path(folder, "the folder")), Path(text_path(out, "the file to write"))
    table = None if table is None else text_path(table, "the table")
    recipe.check()
    workers = Execution.of(AUTO, AUTO, threads).workers
    training = _Training(folder, out, recipe, table, workers, call(progress, "progress"))
    resumed = training.work.demand(training.settings, resume=flag(resume, "resume"), force=flag(force, "force"))
    try:
        return training.run(resumed=resumed)
    except KeyboardInterrupt:
        log.warning("%s", training.what_is_kept)
        raise
    except OSError as error:
        if isinstance(error, RetrievalError):
            raise
        raise StorageError(
            f"the files of the training cannot be written to {displayed(training.work.path)}: {reason_of(error)}",
            hint="free some space, then go on with the same command and --resume",
        ) from error


class _Training:
    """One training, from its beginning or from its latest checkpoint to its end."""

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
        self.work = TrainingFolder(out)
        self.checkpoint = Checkpoint()
        self.saved_epoch = 0
        """The epoch of the latest checkpoint on disk."""

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that a resumed training must share with the one that was stopped."""
        table = None if self.table is None else os.path.realpath(self.table)
        return {"folder": os.path.realpath(self.folder), "labels": table} | self.recipe.as_dict()

    @property
    def what_is_kept(self) -> str:
        """A sentence for an interruption: what is kept, and how to go on."""
        if not self.work.can_go_on:
            return "training had not begun, so nothing is kept"
        kept = f"epoch {self.saved_epoch} is kept"
        if not self.saved_epoch:
            kept = "the decoded pictures are kept, but no epoch was completed"
        return f"{kept}; go on with the same command and --resume"

    def run(self, *, resumed: bool) -> TrainingResult:
        """Do everything that is not done yet."""
        files = None if resumed else self._find_files()
        # The network is built first, so that an error in it is found before the pictures are decoded.
        learner: Learner = plugins.load("training:Learner")(self.recipe)
        with self.work.locked(resumed=resumed):
            dataset = self._load() if files is None else self._decode(files)
            split = splits.split(dataset, self.recipe)
            classes = len(np.unique(dataset.labels[split.training]))
            learner.prepare(classes, splits.steps_per_epoch(len(split.training), self.recipe))
            if resumed:
                self._restore(learner)
            else:
                self._begin(learner, dataset, split)
            log_path = displayed(self.work.path / LOG)
            log.warning("training %s with the loss %s; the log is %s", self.recipe.backbone, self.recipe.loss, log_path)
            try:
                while not self._is_over():
                    self._train_epoch(learner, dataset, split)
            finally:
                plot(self.checkpoint.log, self.work.path / PLOT)
            return self._finish(learner, dataset, split)

    # -- the beginning --------------------------------------------------------------------------------------------

    def _find_files(self) -> LabelledFiles:
        """Return the files to train on; `StorageError` if the disk has too little space for the training."""
        skip = self.work.path if self.work.path.exists() else None
        found = datasets.find_files(self.folder, self.table, labels_needed=self.recipe.needs_labels, skip=skip)
        height, width = self.recipe.backbone.input_size
        network = FLOAT32 * self.recipe.backbone.architecture.parameters
        needed = COPIES * network + 3 * height * width * len(found.files)
        free = shutil.disk_usage(self.work.out.parent).free
        if free < needed:
            raise StorageError(
                f"a training on {len(found.files)} pictures needs {needed / 1e9:.1f} GB on disk, but only "
                f"{free / 1e9:.1f} GB are free",
                hint="free some space, or give an --out on another disk",
            )
        return found

    def _load(self) -> Dataset:
        """Return the pictures that were decoded before the training was stopped."""
        try:
            return datasets.load(self.work.path)
        except (OSError, ValueError, LookupError) as error:
            raise self.work.damaged() from error

    def _decode(self, files: LabelledFiles) -> Dataset:
        """Decode the files, and note which ones are left out."""
        dataset = datasets.prepare(
            files,
            self.recipe.backbone.input_size,
            self.work.path,
            labels_needed=self.recipe.needs_labels,
            threads=self.threads,
            progress=lambda done: self.progress(Step(0, self.recipe.epochs, done, len(files.files))),
        )
        for sentence in dataset.left_out[:MOST_LEFT_OUT]:
            log.warning("%s", sentence)
        more = len(dataset.left_out) - MOST_LEFT_OUT
        if more > 0:
            log.warning("and %s more are left out", more)
        return dataset

    def _begin(self, learner: "Learner", dataset: Dataset, split: Split) -> None:
        """Compute the head and save the first checkpoint. From then on, the training can go on after a stop."""
        if not self.recipe.fresh:
            rows = splits.sample(dataset, split.training)
            learner.initialise_head(dataset.batches(rows), _consecutive(dataset.labels[rows]))
            self.checkpoint.first_weights = learner.weights
        learner.enter_epoch(0)
        self._validate(learner, dataset, split, 0)
        self.work.save(self.checkpoint, learner.state)
        self.work.write(SETTINGS, json.dumps(self.settings, indent=1))

    def _restore(self, learner: "Learner") -> None:
        def use(checkpoint: Checkpoint, state: Arrays) -> None:
            learner.enter_epoch(max(0, checkpoint.epoch - 1))  # the stage in which the state was saved
            learner.restore(state)
            self.checkpoint, self.saved_epoch = checkpoint, checkpoint.epoch

        self.work.restore(use)

    # -- epochs ---------------------------------------------------------------------------------------------------

    def _is_over(self) -> bool:
        checkpoint, recipe = self.checkpoint, self.recipe
        if checkpoint.log and not math.isfinite(checkpoint.log[-1]["loss"]):
            log.warning(
                "training ends early, because the loss is infinite or not a number; the best network so far is kept"
            )
            return True
        # The epochs of the head alone do not count: the layers that change most were not trained yet.
        counted_from = max(checkpoint.improved_epoch, recipe.head_epochs if recipe.unfreeze else 0)
        return checkpoint.epoch >= recipe.epochs or checkpoint.epoch - counted_from >= recipe.patience

    def _train_epoch(self, learner: "Learner", dataset: Dataset, split: Split) -> None:
        """Train on each picture once, validate, and save a checkpoint. A last batch that is not full is left out."""
        checkpoint, start = self.checkpoint, time.perf_counter()
        losses: list[float] = []
        learner.enter_epoch(checkpoint.epoch)
        for step in self._steps(learner, dataset, split, losses):
            self.progress(step)
        loss = float(np.mean(losses))
        quality = NO_QUALITY
        if math.isfinite(loss):
            quality = self._validate(learner, dataset, split, checkpoint.epoch + 1)
        checkpoint.epoch += 1
        checkpoint.log.append(
            {"epoch": checkpoint.epoch, "seconds": time.perf_counter() - start, "loss": loss, **quality}
        )
        self.work.save(checkpoint, learner.state)
        self.saved_epoch = checkpoint.epoch

    def _steps(self, learner: "Learner", dataset: Dataset, split: Split, losses: list[float]) -> Iterator[Step]:
        """Train on one batch after another, add their losses to `losses`, and yield how far the epoch is."""
        checkpoint, recipe, start = self.checkpoint, self.recipe, time.perf_counter()
        labels = _consecutive(dataset.labels[split.training])
        total = splits.steps_per_epoch(len(labels), recipe)
        recall = checkpoint.log[-1]["recall@1"] if checkpoint.log else None
        pictures = 0
        for positions in splits.batches(labels, recipe, checkpoint.epoch):
            losses.append(learner.train_step(dataset.pixels(split.training[positions]), labels[positions]))
            pictures += len(positions)
            rate = pictures / (time.perf_counter() - start)
            loss = float(np.mean(losses))
            yield Step(checkpoint.epoch + 1, recipe.epochs, len(losses), total, rate, loss, recall)

    def _validate(self, learner: "Learner", dataset: Dataset, split: Split, epoch: int) -> dict[str, float]:
        """Return the validation of the best network that was tried after this epoch: recall@1, mAP and its share.

        Tried are the network as it is and mixtures with the one before training (see `SHARES`). A network becomes the
        best one of the checkpoint if its validation is the highest so far, if its recall@1 is not below that before
        training, and if it is better than before training by more than chance.
        """
        checkpoint, now = self.checkpoint, learner.weights
        shares = SHARES if checkpoint.first_weights and epoch > 0 else (1.0,)
        tried: list[dict[str, float]] = []
        for share in shares:
            mixture = _mixed(checkpoint.first_weights, now, share)
            learner.set_weights(mixture)
            answers = answers_among(learner.embed, dataset, split.validation, dataset.size)
            precisions = [average_precision(answer) for answer in answers]
            recall = float(np.mean([MEASURES["recall@1"](answer) for answer in answers]))
            tried.append({"recall@1": recall, "map": float(np.mean(precisions)), "share": share})
            quality = _quality(tried[-1])
            if quality > checkpoint.highest:
                checkpoint.highest, checkpoint.improved_epoch = quality, epoch
            if epoch == 0:
                checkpoint.first_precisions, checkpoint.first_recall = precisions, recall
            if (
                quality > checkpoint.best
                and recall >= checkpoint.first_recall
                and self._is_surely_better(precisions, dataset, split, epoch)
            ):
                checkpoint.best, checkpoint.best_share = quality, share
                checkpoint.best_epoch, checkpoint.best_weights = epoch, mixture
        learner.set_weights(now)
        return max(tried, key=_quality)

    def _is_surely_better(self, precisions: Sequence[float], dataset: Dataset, split: Split, epoch: int) -> bool:
        """Return whether the answers are better than before training by more than chance.

        Of many epochs, some have the highest validation by luck. From scratch every network may become the best one,
        because the network before training is of no use.
        """
        if self.recipe.fresh or epoch == 0:
            return True
        groups = dependent_groups(dataset, self.recipe.split, split.validation)
        return gain(self.checkpoint.first_precisions, precisions, groups).low > 0

    # -- the end --------------------------------------------------------------------------------------------------

    def _finish(self, learner: "Learner", dataset: Dataset, split: Split) -> TrainingResult:
        """Measure the best network on the held-out pictures, save it, and delete what only a resumed training needs."""
        learner.finish(self.checkpoint.best_weights)
        result = self._measure(learner, dataset, split)
        facts = result.as_dict() | {
            "pictures": len(split.training),
            "classes": len(dataset.class_names),
            "recipe": self.recipe.as_dict(),
            "share": self.checkpoint.best_share,
            "log": self.checkpoint.log,
            "retrieval": __version__,
        }
        with self.work.result() as unfinished:
            learner.save(unfinished)
            with zipfile.ZipFile(unfinished, "a") as file:
                file.writestr(FACTS, json.dumps(facts, indent=1))
            _demand_readable(unfinished, learner, dataset.pixels(split.held_out[:CHECKED]))
        self.work.finish()
        return result

    def _measure(self, learner: "Learner", dataset: Dataset, split: Split) -> TrainingResult:
        def quality(name: str, embed: Embed, size: tuple[int, int]) -> NetworkQuality:
            return quality_of(name, embed, size, dataset=dataset, rows=split.held_out, split=self.recipe.split)

        before = [quality(name, embed, size) for name, embed, size in self._references()]
        after = quality(displayed(self.work.out.name), learner.embed, dataset.size)
        groups = dependent_groups(dataset, self.recipe.split, split.held_out)
        return TrainingResult(
            path=self.work.out,
            queries=len(after.precisions),
            best_epoch=self.checkpoint.best_epoch,
            epochs=self.checkpoint.epoch,
            before=before,
            after=after,
            gain=gain(before[-1].precisions, after.precisions, groups),
            left_out=dataset.left_out,
        )

    def _references(self) -> Iterator[tuple[str, Embed, tuple[int, int]]]:
        """Yield the networks that the result is compared with: name, how it embeds, and input size.

        These are the network before training and, from scratch, also the best one on this machine.
        """
        backbone = self.recipe.backbone
        before_training = _reference(backbone, self.recipe.weights)
        if not self.recipe.fresh:
            yield f"{backbone} as it is", *before_training
            return
        yield "random weights", *before_training
        try:
            best, weights_of_best = weights.at_hand()
            reference = _reference(best, weights_of_best)
        except RetrievalError as error:  # the result is good without this comparison
            log.warning("the result cannot be compared with the best network on this machine: %s", error)
            return
        yield f"{best} as it is", *reference


def _demand_readable(path: Path, learner: "Learner", pixels: Pixels) -> None:
    """Raise `BadWeights` unless an index that is made with the file gets the vectors that were trained."""
    encoder = loading.load(Backbone.choose(os.fspath(path)), os.fspath(path))
    cosines = (learner.embed([pixels]) * encoder.images(pixels)).sum(axis=1)
    if cosines.min() < PARITY:
        raise BadWeights(f"{displayed(path)} does not give the vectors that were trained", hint="this is a bug")


def _quality(validation: Mapping[str, float]) -> float:
    """Return the figure by which networks are compared: recall@1 + mAP. Recall@1 alone is coarse on few pictures."""
    return validation["recall@1"] + validation["map"]


def _mixed(first: Arrays, now: Arrays, share: float) -> Arrays:
    """Return the numbers of the network that lies between `first` (share 0) and `now` (share 1)."""
    if share == 1:
        return list(now)
    return [
        np.asarray(before + share * (after - before), after.dtype) for before, after in zip(first, now, strict=True)
    ]


def _consecutive(labels: Ids) -> Ids:
    """Return the labels renumbered from 0 without gaps, in the same order; `NO_LABEL` stays."""
    numbers = np.searchsorted(np.unique(labels[labels >= 0]), labels)
    return np.where(labels >= 0, numbers, NO_LABEL)


def _reference(backbone: Backbone, located: str) -> tuple[Embed, tuple[int, int]]:
    """Return how a network embeds that was not trained here, and its input size.

    `located` are its weights, as `weights.locate_weights` gives them.
    """
    if located == RANDOM:  # without the warning about random weights that `loading.load` gives
        encoder = plugins.load("runtime:keras")(backbone, located, accelerated=False)
    else:
        encoder = loading.load(backbone, located)

    def embed(batches: Iterable[Pixels]) -> Vectors:
        return np.concatenate([encoder.images(pixels) for pixels in batches])

    return embed, encoder.size
