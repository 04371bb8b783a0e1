"""Labels of indexed images: from subfolders and from a CSV."""

from pathlib import Path

import pytest

from retrieval import BadInput, Index
from retrieval.measuring import labels
from tests.fakes import picture, put


def test_subfolders_are_labels_at_any_depth(index: Index, folder: Path) -> None:
    put(folder / "red" / "deeper" / "1.png", picture((241, 0, 0)))
    put(folder / "loose.png", picture((99, 99, 99)))
    index.add(folder)
    found = labels.read(index, folder)
    assert sorted(found.of.values()) == ["blue"] * 5 + ["green"] * 5 + ["red"] * 7
    assert found.of[index.id_of(folder / "red" / "deeper" / "1.png")] == "red"
    assert found.left_out == ()


def test_an_image_in_two_subfolders_is_left_out_with_a_sentence(index: Index, folder: Path) -> None:
    put(folder / "green" / "copy.png", picture((240, 0, 0)))
    index.add(folder)
    found = labels.read(index, folder)
    assert len(found.of) == 15
    assert found.left_out == (f"{folder / 'green' / 'copy.png'} has several labels: green, red",)


def test_a_table_gives_labels(index: Index, folder: Path) -> None:
    table = folder.parent / "labels.csv"
    table.write_text("path,label\nphotos/red/1.png,warm\nphotos/blue/1.png,cold\nphotos/gone.png,cold\n")
    found = labels.read(index, table)
    assert sorted(found.of.values()) == ["cold", "warm"]
    assert found.left_out == (f"{folder / 'gone.png'} is not in the index",)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("file,label\n", "has no columns path and label"),
        ("path,label\nphotos/red/1.png,\n", r"line 2 of .* has no label"),
        ("path,label\nphotos/gone.png,cold\n", r"no picture that .* names is in the index"),
    ],
)
def test_a_table_that_cannot_be_used_is_an_error(index: Index, folder: Path, text: str, what: str) -> None:
    (folder.parent / "labels.csv").write_text(text)
    with pytest.raises(BadInput, match=what):
        labels.read(index, folder.parent / "labels.csv")


def test_a_folder_without_labels(index: Index, folder: Path) -> None:
    with pytest.raises(BadInput, match=r"no subfolder of .* has indexed pictures"):
        labels.read(index, folder / "red")
    with pytest.raises(BadInput):
        labels.read(index, folder.parent / "elsewhere")
