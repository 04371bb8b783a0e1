"""The backbone `mini`: it is shipped, it is chosen if there is no better one, and it finds similar pictures."""

import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from retrieval import Index
from retrieval.errors import BadInput, BadWeights, ModelMismatch, WeightsNotFound
from retrieval.networks import catalogue, mini
from retrieval.networks.catalogue import MINI, Backbone
from retrieval.networks.keras import KerasEncoder
from retrieval.networks.weights import SHIPPED, at_hand, choose, locate_weights
from tests.conftest import PROJECT
from tests.fakes import colour, picture
from tests.measuring.test_quality import leave_one_out


def test_it_is_small_and_says_how_it_was_made() -> None:
    assert SHIPPED.stat().st_size <= 5_000_000
    network = mini.network((144, 144))
    facts = mini.read(network, SHIPPED)
    assert {"data", "teacher", "views", "steps", "measured"} <= set(facts)
    found = catalogue.architecture(MINI)
    assert (found.dim, found.parameters) == (network.output_shape[-1], network.count_params())


@pytest.mark.filterwarnings(
    # Variables of Keras do not know the `copy` of numpy 2 yet.
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)
def test_what_was_written_is_read(tmp_path: Path) -> None:
    network = mini.network((144, 144))
    mini.read(network, SHIPPED)
    mini.write(network, tmp_path / "mini.npz", {"steps": 1})
    again = mini.network((64, 64))
    assert mini.read(again, tmp_path / "mini.npz") == {"steps": 1}
    for one, two in zip(network.variables, again.variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), two.numpy())


@pytest.mark.tensorflow
def test_the_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    (tmp_path / "torn.npz").write_bytes(SHIPPED.read_bytes()[:1000])
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    for name in ("torn", "other"):
        with pytest.raises(BadWeights, match="does not hold the weights of mini"):
            KerasEncoder(Backbone.choose(MINI), os.fspath(tmp_path / f"{name}.npz"))
    with pytest.raises(BadWeights, match="does not hold the weights of mobilenet_v2"):
        KerasEncoder(Backbone.choose("mobilenet_v2"), os.fspath(SHIPPED))


def test_its_weights_are_shipped() -> None:
    chosen = Backbone.choose(MINI)
    assert locate_weights(chosen, environment={}) == os.fspath(SHIPPED)
    assert locate_weights(chosen, remembered="/gone/mini.npz", environment={}) == os.fspath(SHIPPED)
    with pytest.raises(BadInput, match="the backbone mini has no ImageNet weights"):
        locate_weights(chosen, "imagenet")
    with pytest.raises(WeightsNotFound):
        locate_weights(chosen, "/gone/mini.npz")


def test_missing_weights_are_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("retrieval.networks.weights.SHIPPED", tmp_path / "mini.npz")
    with pytest.raises(WeightsNotFound, match="missing from this installation") as raised:
        locate_weights(Backbone.choose(MINI), environment={})
    assert "install retrieval again" in raised.value.hint


@pytest.mark.tensorflow
def test_an_index_with_another_mini_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    network = mini.network((144, 144))
    mini.write(network, tmp_path / "mini.npz", {})
    monkeypatch.setattr("retrieval.networks.weights.SHIPPED", tmp_path / "mini.npz")
    Index.create(tmp_path / "index", backbone=MINI, runtime="keras").close()
    monkeypatch.undo()
    (tmp_path / "mini.npz").unlink()
    with Index.open(tmp_path / "index", runtime="keras") as index, pytest.raises(ModelMismatch) as raised:
        index.search(np.zeros((9, 9, 3), dtype=np.uint8))
    assert "the weights of mini differ in this version" in raised.value.hint


class TestAuto:
    """The backbone of a new index: the best one whose weights are on the machine."""

    def test_without_weights_on_the_machine_it_is_mini(self, tmp_path: Path) -> None:
        assert at_hand({"KERAS_HOME": os.fspath(tmp_path)}) == (Backbone.choose(MINI), os.fspath(SHIPPED))

    def test_a_folder_of_weights_may_have_another_mini(self, tmp_path: Path) -> None:
        (tmp_path / "mini.npz").touch()
        environment = {"KERAS_HOME": os.fspath(tmp_path), "RETRIEVAL_WEIGHTS": os.fspath(tmp_path)}
        assert at_hand(environment) == (Backbone.choose(MINI), os.fspath(tmp_path / "mini.npz"))

    @pytest.mark.parametrize("names", [["mobilenet"], ["mobilenet_v2"], ["mobilenet", "mobilenet_v2"]])
    def test_weights_on_the_machine_are_preferred(self, tmp_path: Path, names: list[str]) -> None:
        (tmp_path / "models").mkdir()
        for name in names:
            chosen = Backbone.choose(name)
            path = tmp_path / "models" / chosen.weights_file
            path.touch()
            os.truncate(path, chosen.architecture.bytes)
        places = {"KERAS_HOME": os.fspath(tmp_path)}, {"RETRIEVAL_WEIGHTS": os.fspath(tmp_path / "models")}
        for environment in places:
            assert at_hand({"KERAS_HOME": "/nowhere", **environment}) == (chosen, os.fspath(path))
        os.truncate(path, 1000)
        for environment in places:
            left = Backbone.choose(names[0] if len(names) > 1 else MINI)
            assert at_hand({"KERAS_HOME": "/nowhere", **environment})[0] == left, (
                "a download that was cut off does not count"
            )

    def test_weights_of_another_size_are_not_fetched(self, tmp_path: Path) -> None:
        environment = {"KERAS_HOME": os.fspath(tmp_path)}
        assert at_hand(environment, input_size=160)[0] == Backbone.choose(MINI, input_size=160)

    def test_options_of_a_certain_backbone_need_its_name(self) -> None:
        with pytest.raises(BadInput, match="are options of the MobileNets") as raised:
            choose("auto", None, alpha=0.5)
        assert "--backbone" in raised.value.hint
        assert choose("auto", "random", alpha=0.5)[0] == Backbone.choose("mobilenet_v2", alpha=0.5)
        assert choose("auto", os.fspath(SHIPPED))[0] == Backbone.choose(MINI)

    def test_an_index_keeps_its_backbone(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KERAS_HOME", os.fspath(tmp_path))
        with Index.create(tmp_path / "one", weights="random") as index:
            assert index.info().backbone == "mobilenet_v2", "given weights belong to the default backbone"
        with Index.create(tmp_path / "two") as index:
            assert index.info().backbone == MINI
        for name in ("one", "two"):
            Index.open(tmp_path / name, backbone="Auto").close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "at_1", "mean"),
    [("corel1k", 0.90, 0.68), ("caltech101", 0.45, 0.29)],
)
def test_it_finds_similar_pictures(
    name: str, at_1: float, mean: float, shared: Callable[[str], Path], tmp_path: Path
) -> None:
    with Index.create(tmp_path / "index", backbone=MINI) as index:
        precision, average = leave_one_out(index, shared(f"images/{name}"))
    assert precision >= at_1
    assert average >= mean


@pytest.mark.slow
def test_it_can_be_trained_again(shared: Callable[[str], Path], tmp_path: Path) -> None:
    pictures, out = tmp_path / "pictures.tar", tmp_path / "mini.npz"
    with tarfile.open(pictures, "w") as tar:
        for number in range(400):
            data = picture(colour(number), (60, 50))
            member = tarfile.TarInfo(f"{number}.png")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    teacher = shared("weights/mobilenet_v2_1.0_224_no_top.weights.h5")
    command = [sys.executable, PROJECT / "scripts/train_mini.py", "--pictures", pictures, "--teacher", teacher]
    command += ["--work", tmp_path / "work", "--views", "1", "--out", out, "--samples"]
    first = subprocess.run([*command, "192"], capture_output=True, text=True, check=True, cwd=PROJECT)
    assert "step 2/2" in first.stdout
    network = mini.network((144, 144))
    facts = mini.read(network, out)
    assert (facts["learnt from"], facts["steps"], facts["measured"]) == (144, 2, {})
    learnt = network.get_weights()
    again = subprocess.run([*command, "192"], capture_output=True, text=True, check=True, cwd=PROJECT)
    assert "step" not in again.stdout.splitlines()[0], "steps that are done are not repeated"
    mini.read(network, out)
    for one, two in zip(learnt, network.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    other = subprocess.run([*command, "288"], capture_output=True, text=True, check=False, cwd=PROJECT)
    assert other.returncode == 2
    assert "of a run with other settings" in other.stderr
