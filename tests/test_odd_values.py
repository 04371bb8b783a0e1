"""Odd values for every public method: a value is accepted, or refused with an error of this package."""

import dataclasses
import io
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
from PIL import Image

from retrieval import BadInput, Index, RetrievalError, UnreadableImage
from retrieval.measuring import evaluate, labels, voting
from retrieval.networks.catalogue import Backbone
from retrieval.networks.execution import Execution
from retrieval.networks.imagenet import Classifier
from retrieval.networks.options import NetworkOptions
from retrieval.networks.weights import choose, choose_classifier
from retrieval.searching.options import SearchOptions
from retrieval.training import run
from retrieval.training.recipe import Recipe
from tests.fakes import ColourEncoder, colour, picture, put


class Strange:
    """An object whose usual methods raise."""

    def __repr__(self) -> str:
        raise RuntimeError

    def __eq__(self, other: object) -> bool:
        raise RuntimeError

    __hash__ = None  # type: ignore[assignment]


def cut() -> Image.Image:
    """A PIL image of a truncated file."""
    data = io.BytesIO()
    Image.effect_noise((300, 300), 50).save(data, "PNG")
    return Image.open(io.BytesIO(data.getvalue()[:9000]))


def closed() -> Image.Image:
    image = Image.open(io.BytesIO(picture((1, 2, 3))))
    image.close()
    return image


ODD: list[Any] = [
    None, True, False, 0, -1, -(2**70), 2**63, 2**70, 3.0, -0.5, float("nan"), float("inf"), 1j,
    np.int64(-3), np.float32(2), np.nan, np.True_, np.zeros(3), np.zeros((4, 4)), np.zeros((0, 4, 3), np.uint8),
    np.zeros((4, 4, 4), np.uint8), np.ones((4, 4, 3)), np.array("a"), np.array(None), np.array([[["a"]]]),
    "", "a", "3", "auto", "a\0b", "\ud800", "\udcff", "x" * 5000,
    b"", b"a", b"\xff\0", bytearray(b"a"), memoryview(b"a"),
    [], [None], ["a", 3], (1, 2), {}, {"a": 1}, set(), object(), print, Strange(), iter([]), range(3),
    Path("nowhere"), PurePosixPath("nowhere"), Path("/dev/null"),
    Image.new("RGB", (0, 0)), Image.new("RGB", (3, 0)), cut, closed,
]  # fmt: skip


def values() -> Iterator[Any]:
    """Every odd value; those that can be used only once are made anew."""
    for one in ODD:
        yield one() if one is cut or one is closed else one


def asked(index: Index, folder: Path) -> dict[str, Callable[[Any], object]]:
    """A function for each parameter of each public method, by its name."""
    right = picture((1, 2, 3))
    network = Backbone.choose("mobilenet")
    truth = evaluate.by_folders(index, folder)
    known = labels.by_folders(index, folder)
    searched = [field.name for field in dataclasses.fields(SearchOptions)]
    made: dict[str, Callable[[Any], object]] = {
        f"search {name}": lambda value, name=name: index.search(right, options=SearchOptions(**{name: value}))
        for name in searched
    }
    made |= {
        f"search {name}": lambda value, name=name: index.search(right, **{name: value})
        for name in ("k", "options", "timing")
    }
    made |= {
        f"configure {name}": lambda value, name=name: index.configure(**{name: value})
        for name in ("faiss", "recall", "float16")
    }
    made |= {
        f"create {name}": lambda value, name=name: Index.create(
            folder / "new", **{"encoder": ColourEncoder(), name: value}
        ).close()
        for name in ("runtime", "precision", "threads", "faiss", "recall", "float16")
    }
    made |= {
        f"choose {name}": lambda value, name=name: choose("mobilenet", "random", **{name: value})
        for name in ("input_size", "alpha", "minimalistic", "pooling")
    }
    made |= {
        f"open {name}": lambda value, name=name: Index.open(index._store.folder, **{name: value}).close()
        for name in ("encoder", *NetworkOptions.__annotations__)
    }
    made |= {
        f"recipe {name}": lambda value, name=name: Recipe.of(network, "random", **{name: value})
        for name in ("loss", "dim", "epochs", "unfreeze", "split", "held_out", "batch", "seed")
    }
    made |= {
        f"add {name}": lambda value, name=name: index.add(folder, **{name: value})
        for name in ("exclude", "prune", "retry_failed", "progress")
    }
    return made | {
        "search": index.search,
        "search_many": index.search_many,
        "search_many one": lambda value: index.search_many([value]),
        "answers": index.answers,
        "neighbours": lambda value: list(index.neighbours(value)),
        "neighbours one": lambda value: list(index.neighbours([value])),
        "neighbours k": lambda value: list(index.neighbours([right], value)),
        "neighbours ranking": lambda value: list(index.neighbours([right], options=SearchOptions(ranking=value))),
        "tagged": index.tagged,
        "tagged k": lambda value: index.tagged("dog", value),
        "tagged offset": lambda value: index.tagged("dog", offset=value),
        "images": lambda value: list(index.images(value)),
        "id_of": index.id_of,
        "in": lambda value: value in index,
        "embed": index.embed,
        "embed one": lambda value: index.embed([value]),
        "vectors": index.vectors,
        "vectors one": lambda value: index.vectors([value]),
        "add": index.add,
        "remove": index.remove,
        "verify": lambda value: index.verify(repair=value),
        "tune": index.tune,
        "open": Index.open,
        "create": lambda value: Index.create(value, backbone="none"),
        "create backbone": lambda value: Index.create(folder / "new", backbone=value, weights=folder / "none"),
        "create weights": lambda value: Index.create(
            folder / "new", backbone="mobilenet", weights="none" if value is None else value
        ),
        "create encoder": lambda value: Index.create(folder / "new", encoder=1 if value is None else value),
        "execution": lambda value: Execution.of("keras", "auto", value),
        "choose": lambda value: choose(value, "nowhere"),
        "choose_classifier": lambda value: choose_classifier(value, "nowhere"),
        "classifier": lambda value: Classifier(backbone=value, weights="nowhere"),
        "classifier weights": lambda value: Classifier(
            backbone="mobilenet", weights="none" if value is None else value
        ),
        "labels": lambda value: labels.read(index, value),
        "labels folders": lambda value: labels.by_folders(index, value),
        "labels table": lambda value: labels.by_table(index, value),
        "classify": lambda value: voting.classify(index, known, value),
        "classify k": lambda value: voting.classify(index, known, right, value),
        "examine k": lambda value: voting.examine(index, known, value),
        "examine progress": lambda value: voting.examine(index, known, progress=value),
        "evaluate folders": lambda value: evaluate.by_folders(index, value),
        "evaluate holidays": lambda value: evaluate.by_holidays(index, value),
        "evaluate table": lambda value: evaluate.by_table(index, value),
        "evaluate itself": lambda value: evaluate.of_itself(index, value, 1),
        "evaluate count": lambda value: evaluate.of_itself(index, None, value),
        "evaluate sampled": truth.sampled,
        "evaluate ranking": lambda value: evaluate.evaluate(index, truth, options=SearchOptions(ranking=value)),
        "evaluate progress": lambda value: evaluate.evaluate(index, truth, progress=value),
        "train": lambda value: run.train(value, folder / "out.keras", Recipe.of(network, "random")),
        "train out": lambda value: run.train(folder, value, replace(Recipe.of(network, "random"), epochs=0)),
        "train table": lambda value: run.train(
            folder, folder / "out.keras", Recipe.of(network, "random"), table="no" if value is None else value
        ),
    }


def test_only_errors_of_this_package_are_raised(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos"
    for number in range(4):
        put(folder / f"class{number % 2}" / f"{number}.png", picture(colour(number)))
    index.add(folder)
    put(folder / "table.csv", b"path,label\nclass0/0.png,a\n")
    wrong = []
    for name, call in asked(index, folder).items():
        for value in values():
            try:
                with warnings.catch_warnings():
                    call(value)
            except RetrievalError as error:
                if not str(error).isprintable() or len(str(error)) > 6000:
                    wrong.append((name, type(value), "a sentence that cannot be printed"))
            except Exception as error:  # noqa: BLE001 - which is what must not be
                wrong.append((name, type(value).__name__, f"{type(error).__name__}: {str(error)[:90]}"))
    assert not wrong, "\n".join(map(str, wrong))
    assert index.add(folder).unchanged == 4


@pytest.mark.parametrize(
    ("query", "kind", "sentence"),
    [
        (cut, UnreadableImage, "the picture that was given cannot be used"),
        (closed, UnreadableImage, "the picture that was given cannot be used"),
        (lambda: Image.new("RGB", (0, 0)), BadInput, "the picture has no pixels: its size is 0x0"),
        (lambda: np.zeros((5, 5, 2), np.uint8), BadInput, r"an array of the shape \(5, 5, 2\) is not a picture"),
        (lambda: 2**70, BadInput, f"no image of the index has the id {2**70}"),
        (lambda: np.int64(-5), BadInput, "no image of the index has the id -5"),
        (lambda: iter([1]), BadInput, "a query is a path, bytes, a PIL image, an array, an id or a Match, not"),
        (lambda: "a\0b", BadInput, r"the path of a query has a NUL character in it: a\\x00b"),
        (lambda: "", BadInput, "the path of a query is empty"),
    ],
)
def test_the_sentence_of_a_wrong_query(index: Index, query: Any, kind: type[Exception], sentence: str) -> None:
    with pytest.raises(kind, match=sentence):
        index.search(query())


def test_numbers_of_numpy_are_accepted(index: Index, photos: Path) -> None:
    index.add(photos)
    (first, second) = index.search(picture(colour(3)), np.int64(2))
    assert index.search(np.int64(first.id), np.uint8(1), options=SearchOptions(offset=np.int32(0))) == index.search(
        first.id, 1
    )
    assert index.search(picture(colour(3)), 2, options=SearchOptions(min_score=np.float32(second.score))) == [
        first,
        second,
    ]


def test_a_string_in_place_of_a_list_is_refused(index: Index, photos: Path) -> None:
    index.add(photos)
    for call in (
        lambda: index.search_many("a.jpg"),
        lambda: index.search_many(photos / "03.png"),
        lambda: index.answers(picture((1, 2, 3))),
        lambda: list(index.neighbours("a.jpg")),
        lambda: index.search(photos / "03.png", options=SearchOptions(views="mirror")),
        lambda: index.add(photos, exclude="*.png"),
    ):
        with pytest.raises(BadInput, match="must be a list of"):
            call()
    assert index.info().images == 12


class TestEncoders:
    """Encoders of the caller that break the protocol."""

    @pytest.mark.parametrize(
        ("name", "value"),
        [("size", 64), ("size", (64,)), ("size", (64, 0)), ("size", (8.0, 8)), ("dim", 0), ("dim", "13"), ("dim", 13.0),
         ("fingerprint", ""), ("fingerprint", None), ("images", None)],
    )  # fmt: skip
    def test_wrong_attributes_are_refused_before_an_index_is_made(
        self, tmp_path: Path, name: str, value: object
    ) -> None:
        encoder: Any = ColourEncoder()
        setattr(encoder, name, value)
        with pytest.raises(BadInput, match="encoder"):
            Index.create(tmp_path / "index", encoder=encoder)
        assert not (tmp_path / "index").exists()

    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            (lambda rows: rows[:, :5], r"gives an array \(12, 5\) of float32, not \(12, 13\)"),
            (lambda rows: rows[:1], r"gives an array \(1, 13\) of float32, not \(12, 13\)"),
            (lambda rows: rows[0], r"gives an array \(13,\) of float32"),
            (lambda rows: (rows * 100).astype(np.int32), "of int32"),
            (lambda _: None, "of object"),
            (lambda rows: rows * 7, "gives vectors of length 7, not 1"),
        ],
    )
    def test_wrong_vectors_end_the_update_with_a_sentence(
        self, tmp_path: Path, photos: Path, change: Callable[[Any], Any], sentence: str
    ) -> None:
        class Odd(ColourEncoder):
            def images(self, batch: Any) -> Any:
                return change(super().images(batch))

        with Index.create(tmp_path / "index", encoder=Odd()) as index:
            with pytest.raises(BadInput, match=sentence):
                index.add(photos)
            assert index.info().images == 0

    def test_vectors_of_other_floats_and_without_a_direction(self, tmp_path: Path, photos: Path) -> None:
        class Odd(ColourEncoder):
            def images(self, batch: Any) -> Any:
                rows = super().images(batch).astype(np.float64)
                rows[0], rows[1] = np.nan, np.inf
                return rows

        with Index.create(tmp_path / "index", encoder=Odd()) as index:
            assert str(index.add(photos)) == "10 added, 2 unreadable"
