"""Training from start to end: the result makes an index, a stopped training goes on, and errors are reported."""

import csv
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image, ImageDraw

from retrieval import BadInput, BadWeights, Index, StorageError, WeightsNotFound
from retrieval.measuring.metrics import average_precision, leave_one_out
from retrieval.networks.catalogue import ARCHITECTURES, MINI, RANDOM, Backbone
from retrieval.networks.weights import SHIPPED
from retrieval.training import dataset, learner, split
from retrieval.training.recipe import LOSSES, Recipe
from retrieval.training.run import Step, train
from scripts.benchmarks.quality import Histogram

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.filterwarnings(
        # Arrays of Keras do not know the `copy` of numpy 2 yet.
        "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
    ),
]
CLASSES, EACH = 6, 8
FINE = Recipe.of(Backbone.choose(MINI, input_size=48), str(SHIPPED), epochs=4, batch=16, unfreeze=0.3)
TINY = Backbone.choose(MINI, input_size=32)


def drawn(kind: int, number: int) -> Image.Image:
    """Return a picture of a kind: a number of bars, in random colours, at a random place."""
    chance = np.random.default_rng((kind, number))
    image = Image.fromarray(chance.integers(90, 160, (60, 80, 3), np.uint8))
    draw = ImageDraw.Draw(image)
    colours = chance.integers(0, 256, (2, 3)).tolist()
    left, upper = chance.integers(0, 20, 2).tolist()
    for bar in range(kind + 1):
        draw.rectangle((left + 8 * bar, upper, left + 8 * bar + 4, upper + 35), fill=tuple(colours[bar % 2]))
    return image


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six classes of eight pictures, one of which cannot be read."""
    folder = tmp_path_factory.mktemp("training") / "pictures"
    for kind in range(CLASSES):
        (folder / f"bars {kind}").mkdir(parents=True)
        for number in range(EACH):
            drawn(kind, number).save(folder / f"bars {kind}" / f"{number}.png")
    (folder / "bars 0" / "torn.jpg").write_bytes(b"\xff\xd8\xff torn")
    return folder


def facts_of(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as file:
        return json.loads(file.read("training.json"))


@dataclass
class Run:
    out: Path
    steps: list[Step]
    found: object

    @property
    def log(self) -> list[dict[str, float]]:
        with (self.out.with_name(self.out.name + ".training") / "log.csv").open() as file:
            return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def fine(pictures: Path) -> Run:
    """A training that nothing stopped."""
    steps: list[Step] = []
    out = pictures.parent / "fine.keras"
    return Run(out, steps, train(pictures, out, FINE, progress=steps.append))


def indexed(model: Path, pictures: Path, place: Path) -> Index:
    index = Index.create(place, backbone=os.fspath(model))
    index.add(pictures)
    return index


class TestResult:
    def test_an_index_is_made_with_it_and_answers(self, fine: Run, pictures: Path, tmp_path: Path) -> None:
        with indexed(fine.out, pictures, tmp_path / "index") as index:
            info = index.info()
            assert (info.images, info.dim, info.failures) == (CLASSES * EACH, 256, 1)
            assert info.parity is not None, "the compiled network runs it"
            assert info.parity > 0.999
            assert index._model.size == (48, 48)
            assert len(index.search(pictures / "bars 1" / "3.png", 5)) == 5

    def test_the_result_compares_before_and_after(self, fine: Run) -> None:
        found = fine.found
        assert found.queries == CLASSES * 2
        assert [one.name for one in found.before] == ["mini (48x48 pixels) as it is"]
        for row in (*found.before, found.after):
            for estimate in row.measures.values():
                assert estimate.low <= estimate.value <= estimate.high
        difference = found.after.measures["map"].value - found.before[-1].measures["map"].value
        assert found.gain.value == pytest.approx(difference)
        assert found.gain.low <= found.gain.value <= found.gain.high
        assert "against mini (48x48 pixels) as it is" in found.sentence
        assert [sentence.split(":")[0] for sentence in found.left_out] == ["bars 0/torn.jpg is left out"]

    @pytest.mark.parametrize(
        ("low", "high", "expected"),
        [(0.01, 0.03, "it was worth it"), (-0.03, -0.01, "it was not worth it"), (-0.01, 0.02, "cannot be told")],
    )
    def test_the_interval_decides_the_sentence(self, fine: Run, low: float, high: float, expected: str) -> None:
        gain = replace(fine.found.gain, low=low, high=high)
        assert expected in replace(fine.found, gain=gain).sentence

    def test_the_file_says_how_it_was_trained(self, fine: Run) -> None:
        facts = facts_of(fine.out)
        assert facts["recipe"]["loss"] == "arcface"
        assert (facts["classes"], facts["pictures"]) == (CLASSES, CLASSES * (EACH - 4))
        assert facts["after"]["map"]["value"] == fine.found.after.measures["map"].value
        assert facts["sentence"] == fine.found.sentence

    def test_only_the_log_and_the_plot_stay(self, fine: Run) -> None:
        folder = fine.out.with_name("fine.keras.training")
        assert sorted(path.name for path in folder.iterdir()) == ["curves.png", "log.csv"]
        assert [row["epoch"] for row in fine.log] == [1, 2, 3, 4]
        assert all(np.isfinite(list(row.values())).all() and 0 <= row["recall@1"] <= 1 for row in fine.log)
        with Image.open(folder / "curves.png") as image:
            assert min(image.size) > 300
        assert not [path for path in fine.out.parent.iterdir() if "partial" in path.name]

    def test_progress_counts_pictures_and_then_steps(self, fine: Run) -> None:
        reading = [step for step in fine.steps if not step.epoch]
        assert [step.done for step in reading] == list(range(1, CLASSES * EACH + 2))
        learning = [(step.epoch, step.done, step.total) for step in fine.steps if step.epoch]
        assert learning == [(epoch, 1, 1) for epoch in range(1, 5)]
        assert all(step.pictures_per_second > 0 and np.isfinite(step.loss) for step in fine.steps if step.epoch)

    def test_a_trained_network_is_not_trained_further(self, fine: Run) -> None:
        with pytest.raises(BadInput, match="cannot be trained further"):
            Recipe.of(Backbone.choose(os.fspath(fine.out)), os.fspath(fine.out))


def interrupted(pictures: Path, out: Path, recipe: Recipe, epoch: int) -> None:
    """Train until the first step of that epoch, then press Ctrl-C."""

    def stop(at: Step) -> None:
        if at.epoch == epoch:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(pictures, out, recipe, progress=stop)


@pytest.fixture(scope="module")
def stopped(pictures: Path) -> Path:
    """The place of a training that was stopped in its first epoch."""
    interrupted(pictures, pictures.parent / "stopped.keras", FINE, 1)
    return pictures.parent / "stopped.keras"


class TestGoingOn:
    @pytest.mark.parametrize("epoch", [2, pytest.param(4, marks=pytest.mark.slow)])
    def test_it_ends_as_if_nothing_had_stopped_it(
        self, fine: Run, pictures: Path, tmp_path: Path, epoch: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        out = tmp_path / "fine.keras"
        interrupted(pictures, out, FINE, epoch)
        assert f"epoch {epoch - 1} is kept" in caplog.text
        assert not out.exists()
        with pytest.raises(BadInput, match=r"holds the files of an earlier training of .*fine.keras") as told:
            train(pictures, out, FINE)
        assert "--resume" in told.value.hint
        steps: list[Step] = []
        found = train(pictures, out, FINE, resume=True, progress=steps.append)
        assert {step.epoch for step in steps} == set(range(epoch, 5)), "no epoch is trained twice"
        again = Run(out, steps, found)
        for one, two in zip(fine.log, again.log, strict=True):
            assert one["loss"] == pytest.approx(two["loss"], rel=0.02)
            assert one["map"] == pytest.approx(two["map"], abs=0.02)
        assert found.best_epoch == fine.found.best_epoch
        assert found.after.measures["map"].value == pytest.approx(fine.found.after.measures["map"].value, abs=0.02)

    def test_other_settings_are_refused_and_named(self, stopped: Path, pictures: Path) -> None:
        with pytest.raises(BadInput, match="epochs was 4, not 5") as told:
            train(pictures, stopped, replace(FINE, epochs=5), resume=True)
        assert "--force" in told.value.hint
        with pytest.raises(BadInput, match="folder was"):
            train(pictures.parent, stopped, FINE, resume=True)

    @pytest.mark.parametrize("name", ["checkpoint.npz", "pixels.raw", "pictures.json", "settings.json"])
    def test_a_damaged_training_does_not_go_on(self, stopped: Path, pictures: Path, tmp_path: Path, name: str) -> None:
        shutil.copytree(stopped.with_name("stopped.keras.training"), tmp_path / "stopped.keras.training")
        path = tmp_path / "stopped.keras.training" / name
        path.write_bytes(path.read_bytes()[:50])
        with pytest.raises(BadInput, match=r"the files in .* are damaged") as told:
            train(pictures, tmp_path / "stopped.keras", FINE, resume=True)
        assert "--force" in told.value.hint

    def test_the_files_of_a_stopped_training_keep_their_names(self, stopped: Path) -> None:
        """Then a training can go on that an earlier version began."""
        folder = stopped.with_name("stopped.keras.training")
        names = {path.name for path in folder.iterdir()} - {"lock", "curves.png"}
        assert names == {"pixels.raw", "pictures.json", "checkpoint.npz", "settings.json", "log.csv"}
        with np.load(folder / "checkpoint.npz") as file:
            assert {name.rstrip("0123456789") for name in file.files} == {"facts", "state", "first", "weights"}
            facts = json.loads(str(file["facts"]))
        scores = {"best", "best_share", "highest", "asked", "recall"}
        assert set(facts) == {"epoch", "best_epoch", "latest", "rows"} | scores
        settings = json.loads((folder / "settings.json").read_text())
        choices = {"backbone", "weights", "loss", "dim", "epochs", "unfreeze", "split", "held_out", "batch", "seed"}
        assert set(settings) == {"folder", "labels"} | choices

    def test_two_processes_do_not_train_at_once(self, stopped: Path, pictures: Path) -> None:
        with FileLock(stopped.with_name("stopped.keras.training") / "lock"):
            with pytest.raises(BadInput, match=r"another training of .*stopped.keras is running"):
                train(pictures, stopped, FINE, resume=True)
            with pytest.raises(BadInput, match="another training"):
                train(pictures, stopped, FINE, force=True)

    def test_a_stop_during_decoding_leaves_nothing(self, pictures: Path, tmp_path: Path) -> None:
        interrupted(pictures, tmp_path / "fine.keras", FINE, 0)
        assert [*tmp_path.iterdir()] == []


class TestRefusals:
    def test_places(self, fine: Run, pictures: Path, tmp_path: Path) -> None:
        with pytest.raises(BadInput, match=r"the network cannot be written to .*h5"):
            train(pictures, tmp_path / "model.h5", FINE)
        with pytest.raises(BadInput, match="there is no folder"):
            train(pictures, tmp_path / "gone" / "model.keras", FINE)
        (tmp_path / "folder.keras").mkdir()
        with pytest.raises(BadInput, match="there is something else with its name"):
            train(pictures, tmp_path / "folder.keras", FINE, force=True)
        before = fine.out.read_bytes()
        with pytest.raises(BadInput, match="exists already") as told:
            train(pictures, fine.out, FINE)
        assert "--force" in told.value.hint
        assert fine.out.read_bytes() == before

    @pytest.mark.slow
    def test_force_overwrites(self, pictures: Path, tmp_path: Path) -> None:
        out, work = tmp_path / "model.keras", tmp_path / "model.keras.training"
        work.mkdir()
        for name in ("settings.json", "log.csv", "notes.txt"):
            (work / name).write_text("{}")
        recipe = Recipe.of(TINY, RANDOM, epochs=1)
        with pytest.raises(BadInput, match="holds the files of an earlier training"):
            train(pictures, out, recipe)
        out.write_bytes(b"old")
        train(pictures, out, recipe, force=True)
        assert facts_of(out)["epochs"] == 1
        assert sorted(path.name for path in work.iterdir()) == ["curves.png", "log.csv", "notes.txt"]
        assert (work / "notes.txt").read_text() == "{}", "a file of the user is left alone"

    @pytest.mark.parametrize(
        ("given", "what"),
        [
            ({"loss": "triplet"}, "no loss 'triplet'"),
            ({"split": "halves"}, "no split 'halves'"),
            ({"dim": 0}, "dim must be at least 1"),
            ({"epochs": 0}, "epochs must be at least 1"),
            ({"batch": 4}, "batch must be at least 8"),
            ({"unfreeze": 1.5}, "unfreeze, a share of the layers, must be a number from 0 to 1"),
            ({"held_out": 1.0}, "held_out, a share of the pictures, must be more than 0 and less than 1, not 1"),
            ({"seed": -1}, "seed must be at least 0"),
        ],
    )
    def test_settings(self, given: dict[str, object], what: str) -> None:
        with pytest.raises(BadInput, match=what):
            Recipe.of(TINY, RANDOM, **given)

    def test_nothing_is_read_before_the_network_is_known_to_be_there(self, pictures: Path, tmp_path: Path) -> None:
        steps: list[Step] = []
        for weights, error in (("gone.h5", BadWeights), ("imagenet", WeightsNotFound)):
            recipe = Recipe.of(Backbone.choose("mobilenet", alpha=0.3, input_size=32), weights)
            with pytest.raises(error):
                train(pictures, tmp_path / "model.keras", recipe, progress=steps.append)
        with pytest.raises(BadInput, match="gives 256 features, so its vectors cannot have 300 numbers") as told:
            train(pictures, tmp_path / "model.keras", replace(FINE, dim=300), progress=steps.append)
        assert "--dim 256" in told.value.hint
        assert steps == []
        assert [*tmp_path.iterdir()] == []

    def test_a_disk_that_is_too_small_is_noticed_beforehand(
        self, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9 - 10**6, 10**6))
        with pytest.raises(StorageError, match=r"GB on disk, but only 0.0 GB are free"):
            train(pictures, tmp_path / "model.keras", FINE)
        assert [*tmp_path.iterdir()] == []

    @pytest.mark.slow
    def test_after_a_full_disk_training_goes_on_from_the_checkpoint(self, pictures: Path, tmp_path: Path) -> None:
        out, before = tmp_path / "model.keras", resource.getrlimit(resource.RLIMIT_FSIZE)

        def fill(at: Step) -> None:
            if at.epoch == 2:
                resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))

        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then the write fails, as on a full disk
        try:
            with pytest.raises(StorageError, match=r"cannot be written to .*too large") as told:
                train(pictures, out, FINE, progress=fill)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, handler)
        assert "--resume" in told.value.hint
        steps: list[Step] = []
        assert train(pictures, out, FINE, resume=True, progress=steps.append).epochs == 4
        assert min(step.epoch for step in steps) == 2


@pytest.mark.slow
@pytest.mark.parametrize("loss", LOSSES)
def test_each_loss_learns_from_scratch(loss: str, pictures: Path, tmp_path: Path) -> None:
    recipe = Recipe.of(TINY, RANDOM, loss=loss, epochs=2, dim=32, batch=16)
    found = train(pictures, tmp_path / "model.keras", recipe, resume=True)  # there is nothing to resume, so it begins
    assert [one.name for one in found.before] == ["random weights", "mini as it is"]
    assert found.epochs == 2
    with indexed(tmp_path / "model.keras", pictures, tmp_path / "index") as index:
        assert index.info().dim == 32


@pytest.mark.slow
def test_without_labels_changed_copies_are_searched_for(pictures: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for number, path in enumerate(sorted(pictures.rglob("*.png"))):
        shutil.copy(path, flat / f"{number}.png")
    with pytest.raises(BadInput, match="no subfolder"):
        train(flat, tmp_path / "model.keras", FINE)
    recipe = replace(FINE, loss="vicreg", epochs=2)
    found = train(flat, tmp_path / "model.keras", recipe)
    assert found.queries == 2 * 10, "a fifth of 48, each as it is and changed"
    assert facts_of(tmp_path / "model.keras")["classes"] == 0


def command(*arguments: str | os.PathLike[str]) -> list[str]:
    return [sys.executable, "-m", "retrieval", *map(os.fspath, arguments)]


@pytest.mark.slow
def test_killed_and_resumed_from_the_command_line(pictures: Path, tmp_path: Path) -> None:
    tiny = ["--backbone", "mini", "--input-size", "32", "--from-scratch", "--epochs", "5"]
    once, twice = tmp_path / "once.keras", tmp_path / "twice.keras"
    arguments = ["train", pictures, *tiny, "--batch", "16"]
    whole = subprocess.Popen(command(*arguments, "--out", once, "--json"), stdout=subprocess.PIPE)
    with subprocess.Popen(command(*arguments, "--out", twice)) as process:
        log = tmp_path / "twice.keras.training" / "log.csv"
        while process.poll() is None and not (log.exists() and len(log.read_text().splitlines()) > 3):
            time.sleep(0.01)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert not twice.exists()
    done = subprocess.run(
        command(*arguments, "--out", twice, "--resume", "--json"), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    one, two = json.loads(whole.communicate()[0]), json.loads(done.stdout)
    assert two["epochs"] == one["epochs"] == 5
    assert two["after"]["map"]["value"] == pytest.approx(one["after"]["map"]["value"], abs=0.03)


FAMILIES = {row.family: row for row in sorted(ARCHITECTURES.values(), key=lambda row: -row.parameters)}
"""The smallest network of each family."""


@pytest.mark.slow
@pytest.mark.parametrize("family", [name for name in FAMILIES if name != MINI])
def test_every_family_learns_is_saved_indexed_and_answers(family: str, pictures: Path, tmp_path: Path) -> None:
    backbone = Backbone.choose(FAMILIES[family].name, input_size=96)
    recipe = Recipe.of(backbone, RANDOM, epochs=1, batch=24)
    model = tmp_path / "model.keras"
    assert train(pictures, model, recipe).epochs == 1
    with indexed(model, pictures, tmp_path / "index") as index:
        assert len(index.search(pictures / "bars 1" / "3.png", 5)) == 5
        assert (index.info().parity or 0) > 0.999


Fixture = Callable[[str], Path]


@pytest.mark.slow
def test_from_scratch_it_is_better_than_colour_histograms(shared: Fixture, tmp_path: Path) -> None:
    folder = shared("images/corel1k")
    recipe = Recipe.of(Backbone.choose(MINI, input_size=96), RANDOM)
    found = train(folder, tmp_path / "model.keras", recipe)
    work = tmp_path / "work"
    work.mkdir()
    known = dataset.prepare(dataset.find_files(folder), Histogram.size, work)
    rows = split.split(known, recipe).held_out
    colours = leave_one_out(Histogram().images(known.pixels(rows)), known.labels[rows])
    best = max(found.before[0].measures["map"].value, np.mean([average_precision(one) for one in colours]))
    assert found.after.measures["map"].value > best + 0.05


@pytest.mark.slow
def test_fine_tuning_is_better_on_unseen_classes(shared: Fixture, tmp_path: Path) -> None:
    weights = shared("weights/mobilenet_0.25_128_no_top.weights.h5")
    backbone = Backbone.choose("mobilenet", alpha=0.25, input_size=128)
    recipe = Recipe.of(backbone, os.fspath(weights), split="classes", held_out=0.5)
    found = train(shared("images/caltech101"), tmp_path / "model.keras", recipe)
    before, after = found.before[-1].measures, found.after.measures
    assert found.gain.low > 0
    assert after["p@1"].value >= before["p@1"].value


@pytest.mark.slow
def test_a_loss_that_is_not_a_number_ends_training_with_the_best_network(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(learner, "FRESH_RATE", 1e38)
    found = train(pictures, tmp_path / "model.keras", Recipe.of(TINY, RANDOM, epochs=9, batch=8))
    assert "the loss is infinite or not a number" in caplog.text
    assert found.epochs < 9
    with indexed(tmp_path / "model.keras", pictures, tmp_path / "index") as index:
        assert index.info().images == CLASSES * EACH
