"""What a search returns: a list, with columns, a table, and a grid of pictures for notebooks."""

import base64
import io
import json
import os
import pickle
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from retrieval import Index, Match, Matches, MissingLibrary
from retrieval.searching.matches import PICTURED
from tests.fakes import colour, picture, put

SOURCE = re.compile(r'src="data:image/jpeg;base64,([^"]+)"')


def some(count: int) -> list[Match]:
    return [Match(n + 1, 1 - n / 64, Path(f"/p/{n}.png"), 7 * n, 32, 24, ()) for n in range(count)]


@pytest.fixture
def answer(index: Index, photos: Path) -> Matches:
    index.add(photos)
    return index.search(picture(colour(3)), 5)


def pictures_in(page: str) -> list[Image.Image]:
    return [Image.open(io.BytesIO(base64.b64decode(data))) for data in SOURCE.findall(page)]


@given(st.integers(0, 9), st.slices(9), st.integers(-9, 8))
def test_matches_are_a_list(count: int, part: slice, position: int) -> None:
    like, matches = some(count), Matches(some(count))
    assert isinstance(matches, list)
    assert (matches == like, like == matches, matches != like, bool(matches)) == (True, True, False, bool(like))
    assert (list(matches), len(matches), list(reversed(matches))) == (like, len(like), like[::-1])
    assert matches[part] == like[part]
    assert isinstance(matches[part], Matches)
    assert repr(matches) == repr(like)
    assert pickle.loads(pickle.dumps(matches)) == matches
    if -count <= position < count:
        assert matches[position] == like[position]
        assert like[position] in matches
        assert matches.index(like[position]) == position % count
        assert matches != like[:-1]
    else:
        with pytest.raises(IndexError):
            matches[position]


def test_every_search_returns_them(index: Index, photos: Path, answer: Matches) -> None:
    query = photos / "03.png"
    found = index.search_many([query, b"words"], 2)
    shown = [found[0], index.answers([query], 2).results[0], index.matches(next(index.neighbours([query], 2)))]
    assert [type(one) for one in (answer, *shown)] == [Matches] * 4
    assert shown[0] == shown[1] == shown[2]
    assert isinstance(found[1], Exception)


def test_the_answer_of_deepimagesearch_is_a_dictionary(index: Index, photos: Path, answer: Matches) -> None:
    found = index.get_similar_images(photos / "03.png", number_of_images=4)
    assert list(found) == [0, 1, 2, 3]
    assert found[0] == str(photos / "03.png")  # as there, the picture itself comes first
    assert list(found.values()) == [str(path) for path in answer.paths[:4]]


def test_columns_are_those_of_the_matches(answer: Matches) -> None:
    assert answer.paths == [match.path for match in answer]
    assert answer.scores.tolist() == pytest.approx([match.score for match in answer])
    assert answer.ids.tolist() == [match.id for match in answer]
    assert (answer.scores.dtype, answer.ids.dtype) == (np.float32, np.int64)
    none = answer[:0]
    assert (none.paths, none.scores.shape, none.ids.shape) == ([], (0,), (0,))
    assert json.loads(json.dumps(answer.to_dicts())) == [match.as_dict() for match in answer]


def test_a_table_has_a_column_per_field_whatever_is_known(answer: Matches) -> None:
    pytest.importorskip("pandas", reason="needs pandas: pip install 'retrieval[notebook]'")
    table = answer.to_pandas()
    assert list(table["path"]) == [str(path) for path in answer.paths]
    assert list(table["rank"]) == [1, 2, 3, 4, 5]
    assert table["id"].dtype == np.int64
    assert table["probability"].isna().all()
    assert list(Matches().to_pandas().columns) == list(table.columns)


def test_without_pandas_the_command_to_type_is_told(answer: Matches, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingLibrary, match="a table needs pandas") as raised:
        answer.to_pandas()
    assert raised.value.hint == "to install it: pip install 'retrieval[notebook]'"


def test_a_notebook_shows_pictures_scores_and_names(answer: Matches) -> None:
    page = answer._repr_html_()
    shown = pictures_in(page)
    assert [image.size for image in shown] == [(32, 24)] * 5
    assert np.asarray(shown[0])[12, 16].tolist() == pytest.approx(colour(3), abs=6)
    for match in answer:
        assert match.path.name in page
        assert f"{match.score:.3f}" in page
    assert "more" not in page
    assert Matches()._repr_html_() == "<p>no matches</p>"


def test_a_large_answer_is_shown_in_part(answer: Matches) -> None:
    many = Matches([answer[0]] * (PICTURED + 12))
    assert len(pictures_in(many._repr_html_())) == PICTURED
    assert "and 12 more" in many._repr_html_()


def test_a_file_that_cannot_be_shown_has_its_name(answer: Matches, photos: Path) -> None:
    gone = replace(answer[0], path=photos / "gone.png")
    broken = replace(answer[1], path=photos / "broken.png")
    put(broken.path, b"\x89PNG\r\n\x1a\n")
    page = Matches(
        [gone, broken, replace(answer[2], offline=True), replace(answer[3], width=0, height=0)]
    )._repr_html_()
    assert not SOURCE.search(page)
    for name in ("gone.png", "broken.png", answer[2].path.name, answer[3].path.name):
        assert name in page


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such names")
def test_names_are_text_and_no_code(index: Index, photos: Path) -> None:
    for name in (b"<script>alert(1)<!--.png", b'" onerror="x.png', b"\xff\n.png"):
        put(os.fsencode(photos) + b"/" + name, picture((*name[:2], 99)))
    index.add(photos)
    page = index.search(picture((60, 115, 99)), 15)._repr_html_()
    page.encode()  # bytes of a name that are not UTF-8 are escaped
    assert len(pictures_in(page)) == 15
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;!--.png" in page
    assert "&quot; onerror=&quot;x.png" in page


def test_real_pictures_stand_upright(tmp_path: Path, encoder: object, shared: Callable[[str], Path]) -> None:
    """Landscape_6 is stored turned by 90 degrees, and its EXIF says so. Landscape_1 is the same picture, not turned."""
    folder = shared("images/exif-orientation")
    with Index.create(tmp_path / "index", encoder=encoder) as index:  # type: ignore[arg-type]
        index.add(folder)
        found = [index.search(folder / f"Landscape_{n}.jpg", 20) for n in (1, 6)]
        by_name = {match.path.name: match for match in (*found[0], *found[1])}
        first, turned = pictures_in(Matches(by_name[f"Landscape_{n}.jpg"] for n in (1, 6))._repr_html_())
    assert max(first.size) == 160
    assert first.size == turned.size
    difference = np.abs(np.asarray(first, dtype=float) - np.asarray(turned, dtype=float))
    assert difference.mean() < 12
