"""Which file of weights an index uses, and which one it remembers: the one that has its fingerprint."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from retrieval import BadWeights, Index, ModelMismatch
from retrieval.networks import loading
from retrieval.networks.catalogue import Backbone
from retrieval.networks.weights import TABLE, all_weights, class_table
from retrieval.storage import queries
from tests.fakes import ColourEncoder, picture, put

NAME = Backbone.choose("mobilenet_v2").weights_file


@pytest.fixture(autouse=True)
def loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Make encoders whose fingerprint is the text in the file of weights; return the files that were tried."""
    tried: list[str] = []

    def load(backbone: Backbone, weights: str, *_: object, **__: object) -> Any:
        tried.append(weights)
        text = (tmp_path / "keras/models" / NAME if weights == "imagenet" else Path(weights)).read_text()
        if text == "torn":
            raise BadWeights(f"{weights} does not hold the weights of {backbone}")
        made: Any = ColourEncoder(text)
        made.digest, made.rule = text, 3
        made.backbone = SimpleNamespace(as_json=backbone.as_json, fingerprint=lambda digest, rule: f"{digest} {rule}")
        return made

    monkeypatch.setattr(loading, "load", load)
    monkeypatch.setenv("KERAS_HOME", os.fspath(tmp_path / "keras"))
    return tried


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An index of mobilenet_v2, made with the weights "mine" that lay in the folder of RETRIEVAL_WEIGHTS."""
    put(tmp_path / "weights" / NAME, b"mine")
    monkeypatch.setenv("RETRIEVAL_WEIGHTS", os.fspath(tmp_path / "weights"))
    put(tmp_path / "photos/1.png", picture((1, 2, 3)))
    with Index.create(tmp_path / "index", backbone="mobilenet_v2") as index:
        index.add(tmp_path / "photos")
    return tmp_path / "index"


def remembered(folder: Path) -> str:
    with Index.open(folder) as index:
        return os.fsdecode(index._model.row["weights"])


def add(folder: Path, **options: Any) -> int:
    """Add one more picture to the index, which takes its network."""
    number = len(list((folder.parent / "photos").iterdir()))
    put(folder.parent / f"photos/more{number}.png", picture((number, 77, 7)))
    with Index.open(folder, **options) as index:
        return index.add(folder.parent / "photos").added


def test_a_wrong_file_is_not_remembered_and_the_right_one_is(folder: Path) -> None:
    own = folder.parent / "weights" / NAME
    own.rename(folder.parent / "kept")
    put(folder.parent / "weights" / "mobilenet_v2.weights.h5", b"other")
    with pytest.raises(ModelMismatch, match=r"fingerprint mine; .* fingerprint other"):
        add(folder)
    assert remembered(folder) == os.fspath(own)
    (folder.parent / "kept").rename(own)
    assert add(folder) == 2


@pytest.mark.parametrize("wrong", [b"other", b"torn"])
def test_an_index_that_remembers_a_wrong_file_finds_the_right_one(
    folder: Path, wrong: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    put(folder.parent / "wrong.weights.h5", wrong)
    with Index.open(folder) as index, index._store.writing():
        row = index._model.row | {"weights": os.fsencode(folder.parent / "wrong.weights.h5")}
        index._store.edit(queries.put_encoder, row)
    assert add(folder) == 1
    assert [("wrong.weights.h5" in said, NAME in said) for said in caplog.messages] == [(True, True)]
    caplog.clear()
    assert remembered(folder) == os.fspath(folder.parent / "weights" / NAME)
    assert add(folder) == 1
    assert not caplog.messages


def test_the_error_names_every_wrong_file_that_was_tried(folder: Path, loaded: list[str]) -> None:
    put(folder.parent / "weights" / NAME, b"other")
    put(folder.parent / "weights" / "mobilenet_v2.weights.h5", b"torn")
    put(folder.parent / "keras" / "models" / NAME, b"third")
    loaded.clear()
    with pytest.raises(ModelMismatch) as error:
        add(folder)
    told = ("fingerprint other", "mobilenet_v2.weights.h5 does not hold", "third")
    assert all(name in str(error.value) for name in told)
    assert "--weights FILE" in error.value.hint


def test_a_file_that_was_given_is_the_only_one_that_is_tried(folder: Path, loaded: list[str]) -> None:
    put(folder.parent / "given.weights.h5", b"other")
    loaded.clear()
    with pytest.raises(ModelMismatch, match="fingerprint other"):
        add(folder, weights=folder.parent / "given.weights.h5")
    assert loaded == [os.fspath(folder.parent / "given.weights.h5")]
    put(folder.parent / "given.weights.h5", b"mine")
    assert add(folder, weights=folder.parent / "given.weights.h5") == 2
    assert remembered(folder) == os.fspath(folder.parent / "given.weights.h5")


@pytest.mark.parametrize("name", ["imagenet", "random"])
def test_a_file_in_the_working_folder_is_not_mistaken_for_a_keyword(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for lying in (TABLE, name, f"weights/{TABLE}"):
        put(tmp_path / lying, b"{}")
    surroundings = {"KERAS_HOME": os.fspath(tmp_path / "keras")}
    chosen = Backbone.choose("mobilenet_v2")
    assert all_weights(chosen, None, name, surroundings) == [name]
    for weights in (name, "weights/missing.h5", ""):
        assert class_table(weights, surroundings) is None
    put(tmp_path / "weights/own.h5", b"")
    assert class_table(os.fspath(tmp_path / "weights/own.h5"), surroundings) == tmp_path / "weights" / TABLE
