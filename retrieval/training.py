"""Training, from a folder of pictures to a `.keras` file that can be indexed with: fine-tuned, or from scratch.

    gather, split, decode -> learn an epoch -> validate -> keep all of it -> … -> measure what was held out -> save
                             └──────────── goes on here, whatever stopped it ┘

Whatever a run needs to go on lies in a folder beside the result, `MODEL.keras.training`: settings, pictures as they are
decoded, the latest epoch, a log, a plot. It is written as a whole or not at all.
"""

import csv
import io
import json
import logging
import math
import os
import shutil
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval import __version__, compiled, lessons, model, plugins, weights
from retrieval.backbones import RANDOM, Backbone
from retrieval.errors import BadInput, BadWeights, RetrievalError, StorageError, reason_of
from retrieval.evaluate import MEASURES, Judged, average_precision, gained
from retrieval.lessons import Lessons, Split
from retrieval.recipe import Recipe
from retrieval.runtimes import AUTO, Execution
from retrieval.trained import FACTS, Trained, Vectorise, judged, measured_on, plotted, units
from retrieval.types import Found, Ids, displayed

SUFFIX = ".training"
SETTINGS, CHECKPOINT, LOG, PLOT = "settings.json", "checkpoint.npz", "log.csv", "curves.png"
COPIES = 11
"""Times the bytes of the network that a run needs on disk: a checkpoint has its numbers, two more of the optimizer, the
first and the best ones; while one is written, the one before is still there; and there is the result."""
SHARES = (0.25, 0.5, 1.0)
"""Ways from the network that learning began with to the one of an epoch, that are tried each time. What has learnt from
few pictures forgets; between the two lies what is better than both for what was not learnt from (Wortsman et al. 2022,
Robust fine-tuning of zero-shot models, arXiv 2109.01903)."""
ARRAYS = ("first", "weights")
COLUMNS = ("epoch", "seconds", "loss", "recall@1", "map", "share")
"""Of the log."""
CHECKED = 8
"""Pictures of which the vectors of the file are held against those of the training."""
Numbers = NDArray[Any]

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
    what an interrupted run has left, is overwritten. Raises `BadInput`, `StorageError`, and what building and loading
    the backbone raises.
    """
    run = _Run(Path(folder), Path(out), recipe, table, Execution.of(AUTO, AUTO, threads).workers, progress)
    run.demand(resume=resume, force=force)
    try:
        return run.whole()
    except OSError as error:
        if isinstance(error, RetrievalError):
            raise
        sentence = f"the training cannot be kept in {displayed(run.work)}: {reason_of(error)}"
        raise StorageError(sentence, hint="free some space, then go on with the same and --resume") from error


@dataclass
class _Kept:
    """What a checkpoint holds beside the numbers that learning goes on from."""

    epoch: int = 0
    """Epochs that are learnt."""
    best_epoch: int = 0
    best: float = -1.0
    """`_merit` of the validation then."""
    asked: list[Any] = field(default_factory=list)
    """What became of the validation's questions before anything was learnt: ranks, and how many are relevant."""
    best_share: float = 1.0
    """How far of the way from the first network to that of the best epoch the best one is."""
    seconds: float = 0.0
    rows: list[dict[str, float]] = field(default_factory=list)
    """Of the log, an epoch each."""
    first: list[Any] = field(default_factory=list)
    """The numbers of the network that learning began with."""
    weights: list[Any] = field(default_factory=list)
    """Those of the best one."""


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
        self.folder, self.out, self.recipe, self.table = folder, out, recipe, table
        self.threads, self.progress = threads, progress
        self.work = out.with_name(out.name + SUFFIX)
        self.kept = _Kept()

    # -- before anything is done ----------------------------------------------------------------------------------

    def demand(self, *, resume: bool, force: bool) -> None:
        """Raise `BadInput` where the run cannot begin, or go on, at its place, and make room where it may."""
        if self.out.suffix != ".keras":
            raise BadInput(f"{displayed(self.out)} is no place for a network", hint="its name has to end in .keras")
        if not self.out.parent.is_dir():
            raise BadInput(f"there is no folder {displayed(self.out.parent)}", hint="make it, or give another --out")
        if self.out.exists() and not force:
            raise BadInput(
                f"{displayed(self.out)} is there already", hint="give another --out, or overwrite it: --force"
            )
        begun = (self.work / SETTINGS).exists()
        if begun and resume:
            self._demand_same()
        elif begun and not force:
            raise BadInput(
                f"a training of {displayed(self.out)} was stopped before its end",
                hint="go on with the same and --resume, or begin anew with --force",
            )
        self.resumed = begun and resume

    def _settings(self) -> dict[str, Any]:
        table = None if self.table is None else os.path.realpath(self.table)
        return {"folder": os.path.realpath(self.folder), "labels": table} | self.recipe.as_dict()

    def _demand_same(self) -> None:
        try:
            before = json.loads((self.work / SETTINGS).read_text())
        except (OSError, ValueError) as error:
            raise BadInput(f"{displayed(self.work)} cannot be gone on from", hint="begin anew with --force") from error
        now = self._settings()
        if changed := [name for name in now if now[name] != before.get(name)]:
            told = ", ".join(f"{name} was {before.get(name)}, not {now[name]}" for name in changed)
            raise BadInput(f"the training was begun with other settings: {told}", hint="give the same, or --force")

    def _demand_space(self, pictures: int) -> None:
        height, width = self.recipe.backbone.input_size
        needed = COPIES * 4 * self.recipe.backbone.architecture.parameters + 3 * height * width * pictures
        free = shutil.disk_usage(self.out.parent).free
        if free < needed:
            sentence = (
                f"a training of {pictures} pictures takes {needed / 1e9:.1f} GB on disk, and {free / 1e9:.1f} are free"
            )
            raise StorageError(sentence, hint="free some space, or give an --out on another disk")

    # -- all of it ------------------------------------------------------------------------------------------------

    def whole(self) -> Trained:
        """Do what is not done yet."""
        files = [] if self.resumed else self._files()
        learner = plugins.load("training:Learner")(self.recipe)  # whatever is wrong with it is known before long work
        where = displayed(self.work / LOG)
        log.warning("%s learns, by %s; the log is %s", self.recipe.backbone, self.recipe.loss, where)
        known = lessons.prepared(self.work) if self.resumed else self._prepared(files)
        split = lessons.split(known, self.recipe)
        learner.prepare(len(np.unique(known.labels[split.learnt])), lessons.steps(len(split.learnt), self.recipe))
        if self.resumed:
            self._restore(learner)
        else:
            self._begin(learner, known, split)
        try:
            while not self._over():
                self._epoch(learner, known, split)
        except KeyboardInterrupt:
            log.warning("epoch %s is kept; go on with the same and --resume", self.kept.epoch)
            raise
        finally:
            plotted(self.kept.rows, self.work / PLOT)
        return self._finished(learner, known, split)

    def _files(self) -> list[tuple[Found, str | None]]:
        files = lessons.gathered(self.folder, self.table, needed=self.recipe.needs_labels)
        self._demand_space(len(files))
        return files

    def _prepared(self, files: Sequence[tuple[Found, str | None]]) -> Lessons:
        recipe = self.recipe
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()
        decoded = partial(Step, 0, recipe.epochs, total=len(files))
        try:
            found = lessons.prepare(
                self.folder,
                files,
                recipe.backbone.input_size,
                self.work,
                needed=recipe.needs_labels,
                threads=self.threads,
                progress=lambda done: self.progress(decoded(done=done)),
            )
            lessons.split(found, recipe)  # which may find that they are too few
        except BaseException:
            shutil.rmtree(self.work, ignore_errors=True)
            raise
        return found

    def _begin(self, learner: Any, known: Lessons, split: Split) -> None:  # noqa: ANN401 - a Learner, unimported
        """Make the head, and keep the first state to go on from."""
        if not self.recipe.fresh:
            rows = known.sample(split.learnt)
            learner.begin(known.batches(rows), _places(known.labels[rows]))
        learner.enter(0)
        self.kept.first = learner.weights
        self._validate(learner, known, split)
        self._keep(learner)
        (self.work / SETTINGS).write_text(json.dumps(self._settings(), indent=1))

    def _over(self) -> bool:
        kept, recipe = self.kept, self.recipe
        waited = kept.epoch - max(kept.best_epoch, recipe.head_epochs)
        lost = bool(kept.rows) and not math.isfinite(kept.rows[-1]["loss"])
        if lost:
            log.warning("the loss is no number any more; what was best before that is kept")
        return kept.epoch >= recipe.epochs or waited >= recipe.patience or lost

    def _epoch(self, learner: Any, known: Lessons, split: Split) -> None:  # noqa: ANN401 - likewise
        """Learn from each picture once, look how good that is, and keep it."""
        kept, recipe, start = self.kept, self.recipe, time.perf_counter()
        labels = _places(known.labels[split.learnt])
        learner.enter(kept.epoch)
        losses: list[float] = []
        seen, total = 0, lessons.steps(len(labels), recipe)
        for places in lessons.epoch(labels, recipe, kept.epoch):
            losses.append(learner.learn(known.pixels(split.learnt[places]), labels[places]))
            seen += len(places)
            rate = seen / (time.perf_counter() - start)
            done = (kept.epoch + 1, recipe.epochs, len(losses), total)
            self.progress(Step(*done, rate, float(np.mean(losses)), kept.rows[-1]["recall@1"] if kept.rows else None))
        kept.epoch += 1
        found = self._validate(learner, known, split)
        row = {"epoch": kept.epoch, "seconds": time.perf_counter() - start, "loss": float(np.mean(losses))}
        kept.rows.append(row | found)
        self._keep(learner)

    def _validate(self, learner: Any, known: Lessons, split: Split) -> dict[str, float]:  # noqa: ANN401 - likewise
        """Return how good the network is by the validation, and note it where none was better.

        The better of the network as it is and those on its way from the first: see `SHARES`.
        """
        kept, now = self.kept, learner.weights
        tried = []
        for share in [1.0] if self.recipe.fresh or not kept.epoch else SHARES:
            learner.take(mixed := _between(kept.first, now, share))
            found = judged(learner.vectors, known, split.validation, known.size)
            means = (float(np.mean([of(one) for one in found])) for of in (MEASURES["recall@1"], average_precision))
            tried.append(dict(zip(("recall@1", "map"), means, strict=True)) | {"share": share})
            if _merit(tried[-1]) > kept.best and self._surely_better(
                found, units(known, self.recipe.split, split.validation)
            ):
                kept.best, kept.best_share, kept.best_epoch = _merit(tried[-1]), share, kept.epoch
                kept.weights = mixed
        learner.take(now)
        return max(tried, key=_merit)

    def _surely_better(self, found: Sequence[Judged], together: Ids) -> bool:
        """Tell whether answers are better than those of the first network by more than chance; these are remembered.

        Of many epochs, some are the best by luck. From scratch there is nothing to lose.
        """
        if not self.kept.epoch:
            self.kept.asked = [(one.ranks.tolist(), one.relevant) for one in found]
            return True
        first = [Judged(np.array(ranks), relevant) for ranks, relevant in self.kept.asked]
        return self.recipe.fresh or gained(first, found, together).low > 0

    # -- what is kept ---------------------------------------------------------------------------------------------

    def _keep(self, learner: Any) -> None:  # noqa: ANN401 - likewise
        facts = {item.name: getattr(self.kept, item.name) for item in fields(self.kept) if item.name not in ARRAYS}
        arrays = {f"state{at:05}": value for at, value in enumerate(learner.state)}
        for name in ARRAYS:
            arrays |= {f"{name}{at:05}": value for at, value in enumerate(getattr(self.kept, name))}
        unfinished = self.work / f"{CHECKPOINT}.partial"
        with unfinished.open("wb") as file:
            np.savez(file, facts=np.array(json.dumps(facts)), **arrays)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(self.work / CHECKPOINT)
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, COLUMNS)
        writer.writeheader()
        writer.writerows(self.kept.rows)
        (self.work / LOG).write_text(text.getvalue())

    def _restore(self, learner: Any) -> None:  # noqa: ANN401 - likewise
        try:
            with np.load(self.work / CHECKPOINT, allow_pickle=False) as file:
                self.kept = _Kept(**json.loads(str(file["facts"])))
                for name in ARRAYS:
                    setattr(self.kept, name, _arrays(file, name))
                learner.enter(max(0, self.kept.epoch - 1))
                learner.restore(_arrays(file, "state"))
        except (OSError, ValueError, LookupError, TypeError, zipfile.BadZipFile) as error:
            sentence = f"what the training left in {displayed(self.work)} is not whole"
            raise BadInput(sentence, hint="begin anew with --force") from error

    # -- the end --------------------------------------------------------------------------------------------------

    def _finished(self, learner: Any, known: Lessons, split: Split) -> Trained:  # noqa: ANN401 - likewise
        kept, recipe = self.kept, self.recipe
        learner.finish(kept.weights)
        before = [
            measured_on(name, *_reference(one, where), known, split.held_out) for name, one, where in self._references()
        ]
        after = measured_on(displayed(self.out.name), learner.vectors, known.size, known, split.held_out)
        gain = gained(before[-1].judged, after.judged, units(known, recipe.split, split.held_out))
        counts = len(after.judged), kept.best_epoch, kept.epoch
        trained = Trained(self.out, *counts, before, after, gain, known.left_out)
        facts = {"pictures": len(split.learnt), "classes": len(known.names), "recipe": recipe.as_dict()}
        facts |= {"share": kept.best_share, "log": kept.rows, "retrieval": __version__}
        unfinished = self.out.with_name(f".{self.out.stem}.partial.keras")
        try:
            learner.save(unfinished)
            with zipfile.ZipFile(unfinished, "a") as file:
                file.writestr(FACTS, json.dumps(trained.as_dict() | facts, indent=1))
            self._demand_readable(unfinished, learner, known, split)
            unfinished.replace(self.out)
        finally:
            unfinished.unlink(missing_ok=True)
        for name in (SETTINGS, CHECKPOINT, lessons.PIXELS, lessons.PICTURES):
            (self.work / name).unlink(missing_ok=True)
        return trained

    def _references(self) -> list[tuple[str, Backbone, str]]:
        """Return what the result is to be better than: where it came from, and from scratch, what is at hand too."""
        mine = self.recipe.backbone, self.recipe.weights
        if not self.recipe.fresh:
            return [(f"{mine[0]} as it is", *mine)]
        best, where = weights.at_hand()
        return [("random weights", *mine), (f"{best} as it is", best, where)]

    def _demand_readable(self, path: Path, learner: Any, known: Lessons, split: Split) -> None:  # noqa: ANN401 - likewise
        """Raise `BadWeights` unless an index that is made with the file has these vectors."""
        rows = split.held_out[:CHECKED]
        encoder = model.load(Backbone.choose(os.fspath(path)), os.fspath(path))
        expected, given = learner.vectors([known.pixels(rows)]), encoder.images(known.pixels(rows))
        if (expected * given).sum(axis=1).min() < compiled.PARITY:
            raise BadWeights(f"{displayed(path)} does not give the vectors that were trained", hint="this is a bug")


def _merit(found: Mapping[str, float]) -> float:
    """Return what a validation is judged by: recall@1, and mAP, as the first alone of a hundred pictures is coarse."""
    return found["recall@1"] + found["map"]


def _between(first: Sequence[Numbers], now: Sequence[Numbers], share: float) -> list[Numbers]:
    """Return numbers that are so much of the way from the first to those of now."""
    if share == 1:
        return list(now)
    return [np.asarray(one + share * (two - one), two.dtype) for one, two in zip(first, now, strict=True)]


def _arrays(file: Mapping[str, Numbers], name: str) -> list[Numbers]:
    return [file[one] for one in sorted(file) if one.startswith(name)]


def _places(labels: Ids) -> Ids:
    """Return numbers from 0 for the classes that are there, `lessons.NONE` for none."""
    numbers = np.searchsorted(np.unique(labels[labels >= 0]), labels)
    return np.where(labels >= 0, numbers, lessons.NONE)


def _reference(backbone: Backbone, where: str) -> tuple[Vectorise, tuple[int, int]]:
    keras = plugins.load("runtime:keras")  # of random numbers, `model.load` would warn
    encoder = keras(backbone, where, accelerated=False) if where == RANDOM else model.load(backbone, where)
    return (lambda some: np.concatenate([encoder.images(pixels) for pixels in some])), encoder.size
