"""Filters: what each term means on real rows, faults with their places, and searches among what is left."""

import os
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from fnmatch import translate
from functools import reduce
from operator import or_
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from retrieval import BadFilter, BadInput, Blend, Filter, Index, SearchOptions
from retrieval.searching.filters import KEYS, LONGEST, parse
from tests.fakes import ColourEncoder, picture, put


class Fact(NamedTuple):
    """A file of the index, with what filters look at."""

    path: str
    size: tuple[int, int]
    format: str
    taken: str | None


FILES = [
    Fact("2023/IMG_1.jpg", (40, 30), "JPEG", "2023-12-31T23:59:59"),
    Fact("2024/IMG_2.JPG", (30, 40), "JPEG", "2024-01-01T00:00:00"),
    Fact("2024/june/IMG_3.jpg", (50, 50), "JPEG", "2024-06-15T12:00:00"),
    Fact("2024/june/a b.png", (60, 20), "PNG", None),
    Fact("2024/june/wide_%.png", (64, 32), "PNG", None),
    Fact("trash/old.gif", (16, 16), "GIF", None),
    Fact("trash/IMG_30.png", (2000, 1000), "PNG", "2024-09-01T08:00:00"),
    Fact("Ünïcode/grün.png", (33, 33), "PNG", None),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("filters") / "photos"
    for number, fact in enumerate(FILES):
        exif = Image.Exif()
        if fact.taken is not None:
            exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = fact.taken.replace("-", ":").replace(
                "T", " "
            )
        options = {} if fact.taken is None else {"exif": exif.tobytes()}
        put(folder / fact.path, picture((30 * number, 90, 200), fact.size, format=fact.format, **options))
    copy = (folder / "2023/IMG_1.jpg").read_bytes()
    put(folder / "copies/one.jpg", copy)
    put(folder / "copies/two.jpg", copy)
    old = time.mktime((2020, 5, 5, 5, 5, 0, 0, 0, -1))
    os.utime(folder / "trash/old.gif", (old, old))
    return folder


@pytest.fixture(scope="module")
def index(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    with Index.create(tmp_path_factory.mktemp("index"), encoder=ColourEncoder()) as index:
        index.add(folder)
        yield index


COPIES = {"copies/one.jpg", "copies/two.jpg"}
ALL = {fact.path for fact in FILES} | COPIES


def found(index: Index, folder: Path, where: str) -> set[str]:
    return {image.path.relative_to(folder).as_posix() for image in index.images(where=where)}


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("path:trash", {"trash/old.gif", "trash/IMG_30.png"}),
        ("path:TRASH/", {"trash/old.gif", "trash/IMG_30.png"}),
        ("path:trash/old.gif", {"trash/old.gif"}),
        ("path:2024/*", {path for path in ALL if path.startswith("2024/")}),
        ("path:202", set()),
        ("path:2024/june", {path for path in ALL if path.startswith("2024/june/")}),
        ("name:IMG_?.jpg", {"2023/IMG_1.jpg", "2024/IMG_2.JPG", "2024/june/IMG_3.jpg"}),
        ("name:img_3*", {"2024/june/IMG_3.jpg", "trash/IMG_30.png"}),
        ("name:june*", set()),
        ('name:"a b.png"|old.gif', {"2024/june/a b.png", "trash/old.gif"}),
        ('name:"wide_%.png"', {"2024/june/wide_%.png"}),
        ("name:*_%*", {"2024/june/wide_%.png"}),
        ('name:"IMG_*"', set()),
        ("name:grün.png", {"Ünïcode/grün.png"}),
        ("format:jpg", {fact.path for fact in FILES if fact.format == "JPEG"} | COPIES),
        ("format:png|gif", {fact.path for fact in FILES if fact.format != "JPEG"}),
        ("width:40", {"2023/IMG_1.jpg"} | COPIES),
        ("width:>60", {"2024/june/wide_%.png", "trash/IMG_30.png"}),
        ("width:60..64", {"2024/june/a b.png", "2024/june/wide_%.png"}),
        ("height:..20", {"2024/june/a b.png", "trash/old.gif"}),
        ("height:<20", {"trash/old.gif"}),
        ("mp:2", {"trash/IMG_30.png"}),
        ("mp:>2", set()),
        ("mp:>=1.5", {"trash/IMG_30.png"}),
        ("shape:square", {"2024/june/IMG_3.jpg", "trash/old.gif", "Ünïcode/grün.png"}),
        ("shape:portrait", {"2024/IMG_2.JPG"}),
        ("-shape:landscape|square", {"2024/IMG_2.JPG"}),
        ("size:>100MB", set()),
        ("size:<0.1gb", ALL),
        ("taken:2024", {"2024/IMG_2.JPG", "2024/june/IMG_3.jpg", "trash/IMG_30.png"}),
        ("taken:2024-06", {"2024/june/IMG_3.jpg"}),
        ("taken:2024-06-15", {"2024/june/IMG_3.jpg"}),
        ("taken:2024-01..2024-06", {"2024/IMG_2.JPG", "2024/june/IMG_3.jpg"}),
        ("taken:2024-06..", {"2024/june/IMG_3.jpg", "trash/IMG_30.png"}),
        ("taken:<2024", {"2023/IMG_1.jpg"} | COPIES),
        ("taken:>2024-06-15", {"trash/IMG_30.png"}),
        ("taken:<=2024-01", {"2023/IMG_1.jpg", "2024/IMG_2.JPG"} | COPIES),
        ("-taken:2000..", {fact.path for fact in FILES if fact.taken is None}),
        ("modified:2020-05-05", {"trash/old.gif"}),
        ("modified:>1year", {"trash/old.gif"}),
        ("-modified:<2days", {"trash/old.gif"}),
        ("taken:<1day", set()),
        ("taken:<99999years", {fact.path for fact in FILES if fact.taken is not None} | COPIES),
        ("taken:2024-06-15T12", {"2024/june/IMG_3.jpg"}),
        ("taken:2024-06-15T12:01", set()),
        ("taken:0001..9999", {fact.path for fact in FILES if fact.taken is not None} | COPIES),
        ("modified:1600|2300", set()),
        ("modified:<2300 modified:>1600", ALL),
        ("mp:2.0", {"trash/IMG_30.png"}),
        ("mp:2.1", set()),
        ("width:>=60px", {"2024/june/a b.png", "2024/june/wide_%.png", "trash/IMG_30.png"}),
        ("path:photos", ALL),
        ("path:photos/trash|./2023", {"trash/old.gif", "trash/IMG_30.png", "2023/IMG_1.jpg"}),
        ("path:/", ALL),
        ("path:*/june", {path for path in ALL if path.startswith("2024/june/")}),
        ("folder:june|trash", {path for path in ALL if "/june/" in path or path.startswith("trash/")}),
        ("folder:jun", set()),
        ("root:*/photos", ALL),
        ("name:GRÜN.png", {"Ünïcode/grün.png"}),
        ("name:gru\u0308n.png", {"Ünïcode/grün.png"}),
        ("has:taken", {fact.path for fact in FILES if fact.taken is not None} | COPIES),
        ("-has:taken", {fact.path for fact in FILES if fact.taken is None}),
        ("has:camera|lens|place|rating|keyword", set()),
        ("copies:>1", {"2023/IMG_1.jpg"} | COPIES),
        ("is:copied path:copies", COPIES),
        ("is:offline", set()),
        ("FORMAT:png Path:2024", {"2024/june/a b.png", "2024/june/wide_%.png"}),
        ("  format:png   -path:2024|trash ", {"Ünïcode/grün.png"}),
        ("-is:offline", ALL),
    ],
)
def test_a_filter_finds_the_files_that_meet_it(index: Index, folder: Path, where: str, expected: set[str]) -> None:
    assert found(index, folder, where) == expected


@pytest.mark.parametrize(
    ("where", "at", "sentence"),
    [
        ("beach", 0, "a filter has terms of a key, a colon and a value"),
        ("format:png beach", 11, "a filter has terms"),
        ("mp:", 3, "a value is missing"),
        ("mp:>12 name:", 12, "a value is missing"),
        ("name:a||b", 7, "a value is missing"),
        ("name:a|", 7, "a value is missing"),
        ('name:"a b', 5, "a quote is not closed"),
        ('name:"a"b', 8, "after a value, white space or | must follow"),
        ('name:a"b"', 6, "after a value, white space or | must follow"),
        ("mp:>twelve", 4, "twelve is not a number"),
        ("width:10|2..x", 12, "x is not a number"),
        ("size:12pounds", 5, "12pounds is not a number"),
        ("width:..", 6, "a range needs a start or an end"),
        ("width:>", 7, " is not a number"),
        ("width:-3", 6, "-3 is not a number"),
        ("taken:yesterday", 6, "yesterday is not a date"),
        ("taken:2024-13", 6, "2024-13 is not a date"),
        ("taken:2023-02-29", 6, "2023-02-29 is not a date"),
        ("taken:2weeks", 6, "2weeks needs a sign"),
        ("taken:2024-01..2024-13", 15, "2024-13 is not a date"),
        ("taken:2024-07..2024-06", 6, "the range ends before it begins"),
        ("width:8..2", 6, "the range ends before it begins"),
        ("width:>1kb", 7, "1kb is not a number"),
        ("format:jpg2", 7, "there is no format jpg2"),
        ("path:./", 5, "a path is missing"),
        ("near:1,2", 5, "a place and a distance are needed"),
        ("near:91,2,3km", 5, "a place is a latitude from -90 to 90"),
        ("a or b", 0, "a filter has terms"),
        ("", 0, "at least one term"),
        ("  ", 0, "at least one term"),
        ("name:a\x07", 6, "cannot have the character"),
        ("name:\ud800", 5, "cannot have the character"),
        ("shape:round", 6, "round is none of the words of this key"),
        ("is:unreadable", 3, "unreadable is none of the words of this key"),
        ("colour:red", 0, "there is no key colour"),
        ("-colour:red", 0, "there is no key colour"),
        ("mp:>12; DROP TABLE images", 4, "12; is not a number"),
        ("name:a" + "|a" * 100, 0, "a filter has at most 100 values"),
        ("name:a " * 101, 700, "a filter has at most 100 values"),
        ("ä" * (LONGEST // 2 + 1), 0, "at most 4096 bytes"),
    ],
)
def test_a_fault_has_a_place(where: str, at: int, sentence: str) -> None:
    with pytest.raises(BadFilter, match=re.escape(sentence)) as raised:
        parse(where)
    assert (raised.value.at, raised.value.filter) == (at, where)


LETTERS = st.sampled_from([*"abc:|\"-.<>=*?% _\\'();\0\n0129", *(f"{key}:" for key in KEYS), "..", "2024-06", "MB"])


@settings(max_examples=500)
@given(st.lists(LETTERS, max_size=30).map("".join) | st.text(max_size=60))
@example("name:'; DROP TABLE images; --")
@example("name:" + "a*" * 1000)
@example("modified:2300 modified:1600 modified:>1000years modified:<99999years taken:<99999years")
@example("modified:9999-12-31T23:59 taken:0001..9999")
@example("near:*,5km|0,0,1m lat:-90..90 lon:170..-170")
@example("name:a" + "|a" * 99)
@example("-name:a " * 100)
@example("copies:>" + "9" * 15)
@example("name:\\%\\_\\")
def test_any_text_is_a_filter_or_has_a_fault_with_a_place(index: Index, text: str) -> None:
    fault = None
    try:
        parse(text)
    except BadFilter as error:
        fault = error
    if fault is not None:
        assert 0 <= fault.at <= len(text)
        assert fault.filter == text
    elif "tag:" not in text.lower():  # the encoder of these tests has no tags
        assert len(list(index.images(where=text))) <= len(ALL)
    assert len(list(index.images())) == len(ALL)


NAMES = sorted({fact.path.rsplit("/")[-1] for fact in FILES})
GLOBS = st.text([*"aIMG_123.jpgn%*?", *"*?"], min_size=1, max_size=6)
SIGNS: dict[str, Callable[[int, int], bool]] = {
    "": int.__eq__, ">": int.__gt__, ">=": int.__ge__, "<": int.__lt__, "<=": int.__le__,
}  # fmt: skip


@given(GLOBS, st.sampled_from(sorted(SIGNS)), st.integers(0, 70), st.booleans())
def test_names_and_widths_are_compared_as_in_python(
    index: Index, folder: Path, glob: str, sign: str, width: int, negated: bool
) -> None:
    pattern = re.compile(translate(glob), re.IGNORECASE)
    sizes = {fact.path: fact.size for fact in FILES} | dict.fromkeys(COPIES, (40, 30))
    expected = {
        path
        for path, (wide, _) in sizes.items()
        if (pattern.match(path.rsplit("/")[-1]) is not None) != negated and SIGNS[sign](wide, width)
    }
    assert found(index, folder, f"{'-' * negated}name:{glob} width:{sign}{width}") == expected


def test_what_there_is_to_filter_by_is_counted_as_filters_count_it(index: Index, folder: Path) -> None:
    terms = index.terms()
    assert list(terms)[:3] == ["format:jpeg", "format:png", "format:gif"]
    assert [term for term in terms if term.startswith("taken")] == ["taken:2023", "taken:2024"]
    for term, files in terms.items():
        assert len(found(index, folder, term)) == files


def test_the_age_of_a_file_is_counted_from_now(tmp_path: Path) -> None:
    ages = {"hours": 5, "days": 3, "weeks": 2, "months": 2, "years": 2}
    days = {"hours": 1 / 24, "days": 1, "weeks": 7, "months": 30, "years": 365}
    for number, (unit, count) in enumerate(ages.items()):
        put(tmp_path / f"photos/{unit}.png", picture((50 * number, 0, 0)))
        then = time.time() - count * days[unit] * 86400
        os.utime(tmp_path / f"photos/{unit}.png", (then, then))
    with Index.create(tmp_path / "index", encoder=ColourEncoder()) as index:
        index.add(tmp_path / "photos")
        for number, (unit, count) in enumerate(ages.items()):
            younger = set(list(ages)[:number])
            for where, expected in (
                (f"modified:<{count - 1}{unit}", younger),
                (f"modified:<{count + 1}{unit}", younger | {unit}),
                (f"modified:>{count + 1}{unit}", set(ages) - younger - {unit}),
            ):
                assert {image.path.stem for image in index.images(where=where)} == expected


class TestSearch:
    """The nearest images that meet a filter are found, however few they are and however far down they stand."""

    @pytest.fixture
    def many(self, tmp_path: Path) -> Iterator[Index]:
        for number in range(240):
            name = "far" if number >= 200 else "near"
            put(tmp_path / f"photos/{name}/{number:03}.png", picture((number, 255 - number, 60)))
        with Index.create(tmp_path / "index", encoder=ColourEncoder()) as index:
            index.add(tmp_path / "photos")
            yield index

    @pytest.mark.parametrize("ranking", ["none", "mixed", "expansion"])
    def test_the_nearest_that_meet_it_are_found(self, many: Index, ranking: str) -> None:
        query = picture((0, 255, 60))
        whole = many.search(query, 240, options=SearchOptions(ranking="none"))
        for where in ("path:far", "name:00*|23*", "path:far name:201.png"):
            expected = {image.id for image in many.images(where=where)}
            best = [match.id for match in whole if match.id in expected]
            found = many.search(query, 7, options=SearchOptions(ranking=ranking, where=where))
            assert len(found) == min(7, len(expected))
            assert {match.id for match in found} <= expected
            assert [match.id for match in found][:3] == best[:3] or ranking == "expansion"
            scores = {match.id: match.score for match in whole}
            assert all(match.score == scores[match.id] for match in found)
            page = many.search(query, 5, options=SearchOptions(ranking=ranking, where=where, offset=2))
            assert [match.id for match in page] == [match.id for match in found[2:7]]

    def test_nothing_meets_it(self, many: Index) -> None:
        nothing = SearchOptions(where="name:nothing", likelihood=True)
        assert many.search(picture((0, 255, 60)), options=nothing) == []
        assert [len(near.ids) for near in many.neighbours([picture((0, 255, 60))], 5, nothing)] == [0]
        assert list(many.images(where="name:nothing")) == []

    def test_the_query_itself_need_not_meet_it(self, many: Index, tmp_path: Path) -> None:
        query = tmp_path / "photos/near/000.png"
        found = many.search(query, 3, options=SearchOptions(where="path:far"))
        assert [match.path.name for match in found] == ["200.png", "201.png", "202.png"]

    def test_fewer_images_give_fewer_false_matches(self, many: Index) -> None:
        query = picture((215, 40, 60))
        among_all = {
            match.id: match.false_matches for match in many.search(query, 240, options=SearchOptions(likelihood=True))
        }
        for match in many.search(query, 40, options=SearchOptions(likelihood=True, where="path:far")):
            known = among_all[match.id]
            if match.false_matches is not None and known is not None:
                assert match.false_matches == pytest.approx(known * 40 / 240)

    def test_a_filter_sees_the_latest_state(self, many: Index, tmp_path: Path) -> None:
        options = SearchOptions(where="path:new")
        assert many.search(picture((0, 255, 60)), options=options) == []
        put(tmp_path / "photos/new/1.png", picture((7, 7, 7)))
        many.add(tmp_path / "photos")
        assert [match.path.name for match in many.search(picture((0, 255, 60)), options=options)] == ["1.png"]

    def test_several_queries_have_the_same_filter(self, many: Index) -> None:
        queries = [picture((9, 9, number)) for number in range(40)]
        answers = many.search_many(queries, 3, SearchOptions(where="path:far"))
        assert all(match.path.parent.name == "far" for answer in answers for match in answer)
        assert all(len(answer) == 3 for answer in answers)

    @pytest.mark.parametrize("where", ["", "mp:>x", "a\x01b", 7, None])
    def test_a_faulty_filter_is_refused_before_the_search(self, many: Index, where: object) -> None:
        if where is None:
            assert many.search(picture((0, 255, 60)), options=SearchOptions(where=None))
            return
        with pytest.raises(ValueError, match=r"a filter|is not a number|cannot have"):
            SearchOptions(where=where)


class TestPlaces:
    """Of an image with copies, only the files that meet the filter are shown, and only they count."""

    @pytest.fixture
    def copies(self, tmp_path: Path) -> Iterator[Index]:
        for number, names in enumerate([["a/1.png", "trash/1.png"], ["a/2.png", "b/2.png"], ["a/3.png"]]):
            for name in names:
                put(tmp_path / f"photos/{name}", picture((80 * number, 90, 60)))
        put(tmp_path / "other/trash/4.png", picture((9, 200, 9)))
        put(tmp_path / "other/b/2.png", picture((80, 90, 60)))
        with Index.create(tmp_path / "index", encoder=ColourEncoder()) as index:
            index.add(tmp_path / "photos")
            index.add(tmp_path / "other")
            yield index

    @staticmethod
    def shown(index: Index, query: object, home: Path, where: str, **options: object) -> list[list[str]]:
        matches = index.search(query, options=SearchOptions(where=where, **options))  # type: ignore[arg-type]
        files = [[match.path, *match.copies] for match in matches]
        return [[path.relative_to(home).as_posix() for path in of_match] for of_match in files]

    def test_other_files_are_not_shown(self, copies: Index, tmp_path: Path) -> None:
        assert self.shown(copies, picture((0, 90, 60)), tmp_path, "path:trash") == [
            ["photos/trash/1.png"],
            ["other/trash/4.png"],
        ]
        assert self.shown(copies, picture((80, 90, 60)), tmp_path, "-path:a is:copied name:2.png") == [
            ["other/b/2.png", "photos/b/2.png"]
        ]
        assert self.shown(copies, picture((80, 90, 60)), tmp_path, "root:*/other folder:b") == [["other/b/2.png"]]

    def test_a_query_whose_other_files_do_not_meet_it_is_left_out(self, copies: Index, tmp_path: Path) -> None:
        query = tmp_path / "photos/a/1.png"
        assert self.shown(copies, query, tmp_path, "path:a") == [["photos/a/2.png"], ["photos/a/3.png"]]
        assert self.shown(copies, query, tmp_path, "path:a name:1.png") == []
        assert self.shown(copies, query, tmp_path, "path:a name:1.png", include_self=True) == [["photos/a/1.png"]]
        assert [len(copies.search(query, k, SearchOptions(where="path:a"))) for k in (1, 2, 3)] == [1, 2, 2]

    def test_pictures_of_a_blend_that_are_copies_of_each_other_cost_no_match(
        self, copies: Index, tmp_path: Path
    ) -> None:
        blend = Blend(like=[tmp_path / "photos/a/1.png", tmp_path / "photos/trash/1.png"])
        assert [len(copies.search(blend, k)) for k in (1, 2, 3, 4)] == [1, 2, 3, 3]

    def test_the_number_that_meets_it_is_told(self, copies: Index, tmp_path: Path) -> None:
        query = picture((0, 90, 60))
        for where, count in (("path:trash", 2), ("name:nothing", 0), ("copies:>1", 2), (None, None)):
            assert copies.answers([query], options=SearchOptions(where=where)).among == count

    def test_files_that_are_away(self, copies: Index, tmp_path: Path) -> None:
        (tmp_path / "photos").rename(tmp_path / "away")
        copies.add(tmp_path / "other")
        (tmp_path / "photos/a").mkdir(parents=True)
        copies.add(tmp_path / "photos")
        away = {"photos/a/1.png", "photos/trash/1.png", "photos/a/2.png", "photos/b/2.png", "photos/a/3.png"}
        found = {image.path.relative_to(tmp_path).as_posix() for image in copies.images(where="is:offline")}
        assert found == away
        shown = self.shown(copies, picture((80, 90, 60)), tmp_path, "-is:offline")
        assert shown == [["other/b/2.png"], ["other/trash/4.png"]]
        (match, *_) = copies.search(picture((80, 90, 60)), options=SearchOptions(where="is:offline name:2.png"))
        assert match.offline


@pytest.fixture(scope="module")
def noted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    home = tmp_path_factory.mktemp("noted")
    cameras = [
        ("Canon", "Canon EOS R6", 100, 2.8, 0.004, 50.0),
        ("NIKON CORPORATION", "NIKON D90", 800, 8, 2, 18.0),
    ]
    places = [("N", (52.0, 31.0, 12.0), "E", (13.0, 24.0, 18.0)), ("S", (17.0, 0.0, 0.0), "W", (179.0, 30.0, 0.0))]
    for number in range(3):
        exif = Image.Exif()
        if number < 2:
            make, model, iso, aperture, exposure, focal = cameras[number]
            exif[ExifTags.Base.Make], exif[ExifTags.Base.Model], exif[0x4746] = make, model, 2 + number
            exif[0x9C9E] = "red car;sea".encode("utf-16-le") if number else b""
            exif.get_ifd(ExifTags.IFD.Exif).update(
                {0x8827: iso, 0x829D: float(aperture), 0x829A: float(exposure), 0x920A: focal, 0xA434: "A 50mm"}
            )
            exif.get_ifd(ExifTags.IFD.GPSInfo).update(dict(enumerate(places[number], start=1)))
        data = picture((90 * number, 9, 9), (40, 30), format="JPEG", exif=exif.tobytes())
        put(home / f"photos/{number}.jpg", data)
    with Index.create(home / "index", encoder=ColourEncoder()) as index:
        index.add(home / "photos")
        yield index


class TestNoted:
    """Filters by what cameras and people noted."""

    @pytest.mark.parametrize(
        ("where", "expected"),
        [
            ("camera:canon*", "0"),
            ("camera:nikon*", "1"),
            ('camera:"nikon d90"', "1"),
            ("-camera:canon*", "12"),
            ("lens:*50MM*", "01"),
            ("iso:100", "0"),
            ("iso:..400|800", "01"),
            ("aperture:2.8", "0"),
            ("aperture:>2.8", "1"),
            ("exposure:1/250", "0"),
            ("exposure:>1/60", "1"),
            ("exposure:4ms", "0"),
            ("exposure:2s", "1"),
            ("focal:18..35mm", "1"),
            ("rating:>=3", "1"),
            ("rating:-1", ""),
            ("-rating:0..", "2"),
            ("keyword:sea", "1"),
            ('keyword:"red car"', "1"),
            ("keyword:red", ""),
            ("keyword:*car", "1"),
            ("has:place", "01"),
            ("-has:keyword", "02"),
            ("near:52.52,13.4,1km", "0"),
            ("near:52.52,13.4,100m", ""),
            ("near:-17,179.9,70km", "1"),
            ("near:0.jpg,1m", "0"),
            ("near:none.jpg,1km", ""),
            ("lat:50..60", "0"),
            ("lat:<0", "1"),
            ("lon:170..-170", "1"),
            ("lon:-180..0", "1"),
        ],
    )
    def test_a_filter_finds_the_pictures_that_meet_it(self, noted: Index, where: str, expected: str) -> None:
        assert "".join(image.path.stem for image in noted.images(where=where)) == expected

    def test_what_there_is_to_filter_by(self, noted: Index) -> None:
        terms = noted.terms()
        assert terms == {
            "format:jpeg": 3, "shape:landscape": 3, 'camera:"Canon EOS R6"': 1, 'camera:"NIKON D90"': 1,
            'lens:"A 50mm"': 2, "rating:2": 1, "rating:3": 1, 'keyword:"red car"': 1, "keyword:sea": 1,
        }  # fmt: skip
        for term, files in terms.items():
            assert len(list(noted.images(where=term))) == files

    def test_filters_in_python(self, noted: Index) -> None:
        for where, expected in (
            (Filter.camera == "canon*", "0"),
            (Filter.camera != "canon*", "12"),
            ((Filter.iso <= 400) | (Filter.keyword == "red car"), "01"),
            ((Filter.iso <= 400) & ~(Filter.aperture < 2), "0"),
            (Filter.exposure >= 0.5, "1"),
            (Filter.focal.between(18, 49.5), "1"),
            (Filter.rating.any_of([2, 5]), "0"),
            (Filter.is_ == "offline", ""),
            (Filter.modified > datetime(2000, 1, 1, 12, 30), "012"),  # noqa: DTZ001 - filters have local times
            (Filter.modified < date(2000, 1, 1), ""),
            (Filter.parse("lens:a*"), "01"),
        ):
            assert "".join(image.path.stem for image in noted.images(where=where)) == expected
        found = noted.search(picture((0, 9, 9)), options=SearchOptions(where=Filter.near == "52.52,13.4,1km"))
        assert [match.path.stem for match in found] == ["0"]


def test_every_key_is_a_fact_in_python() -> None:
    assert {name.rstrip("_") for name in Filter.__annotations__ if name != "condition"} == set(KEYS)


@pytest.mark.parametrize("value", [None, True, [1], datetime(2020, 1, 1, tzinfo=UTC), "12 apples"])
def test_a_value_that_no_fact_has_is_refused(value: object) -> None:
    with pytest.raises(BadInput, match=r"a value in a filter|has no zone|is not a number"):
        Filter.iso == value  # noqa: B015 - the comparison is tested


def test_threads_with_filters_of_their_own_get_their_own_answers(index: Index, folder: Path) -> None:
    wheres = ["format:png", "format:gif", "path:trash", "name:IMG*"]
    expected = {where: {image.id for image in index.images(where=where)} for where in wheres}

    def ask(where: str) -> bool:
        found = index.search(picture((0, 0, 0)), 20, SearchOptions(where=where, ranking="none"))
        return {match.id for match in found} == expected[where]

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(ask, wheres * 50))


def test_a_filter_has_no_truth() -> None:
    """Else `100 <= Filter.iso <= 400` and `a and b` would silently be the last part alone."""
    with pytest.raises(BadInput, match="neither true nor false"):
        assert 100 <= Filter.iso <= 400
    with pytest.raises(BadInput, match="neither true nor false"):
        assert not (Filter.mp > 1)


def test_filters_in_python_have_limits(index: Index) -> None:
    assert len(list(index.images(where=Filter.name.any_of([f"n{number}" for number in range(300)])))) == 0
    assert len(list(index.images(where=reduce(or_, [Filter.width == number for number in range(250)])))) > 0
    deep = reduce(lambda inner, _: ~(inner & (Filter.width > 1)), range(200), Filter.mp > 1)
    for large in (Filter.name.any_of([f"n{number}" for number in range(5000)]), deep):
        with pytest.raises(BadInput, match="at most 900 conditions"):
            list(index.images(where=large))
    for value in ("a" * 5000, "a\ud800"):
        with pytest.raises(BadFilter):
            Filter.name == value  # noqa: B015 - the comparison is tested


def test_what_has_no_order_is_not_compared() -> None:
    for refused in (
        lambda: Filter.name < "b",
        lambda: Filter.camera.between("a", "c"),
        lambda: Filter.shape >= "square",
    ):
        with pytest.raises(BadInput, match="has no order"):
            refused()


def test_seconds_count(index: Index) -> None:
    for moment, count in ((datetime(2024, 6, 15, 12, 0, 0), 1), (datetime(2024, 6, 15, 12, 0, 1), 0)):  # noqa: DTZ001
        assert len(list(index.images(where=Filter.taken == moment))) == count
        assert len(list(index.images(where=Filter.taken.between(moment, date(2024, 6, 15))))) == count
    assert len(list(index.images(where=Filter.width == np.int64(50)))) == 1
