"""The Python API: making, opening, asking."""

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from retrieval import BadInput, Index, IndexExists, IndexNotFound, ModelMismatch, UnreadableImage
from retrieval.pictures import decode
from retrieval.searching.options import SearchOptions
from retrieval.types import EXACT, Match
from tests.fakes import ColourEncoder, colour, picture, put


def numbers(matches: list[Match]) -> list[str]:
    return [match.path.stem for match in matches]


@pytest.fixture
def filled(index: Index, photos: Path) -> Index:
    index.add(photos)
    return index


def expected(number: int, among: range = range(12)) -> list[str]:
    """The pictures `among` by their cosine with picture `number`, computed with numpy alone."""
    vectors = {n: np.array([*colour(n)] * 4 + [64.0]) for n in (*among, number)}
    unit = {n: vector / np.linalg.norm(vector) for n, vector in vectors.items()}
    return [f"{n:02}" for n in sorted(among, key=lambda n: -(unit[n] @ unit[number]))]


def test_matches_are_what_one_computes_by_hand(filled: Index, photos: Path) -> None:
    red = filled.search(picture((255, 0, 0)), k=1)[0]
    vector, other = np.array([255, 0, 0] * 4 + [64]), np.array([*colour(int(red.path.stem))] * 4 + [64])
    cosine = vector @ other / np.linalg.norm(vector) / np.linalg.norm(other)
    assert red.score == pytest.approx(cosine, abs=1e-6)
    assert numbers(filled.search(picture(colour(3), (9, 9)), k=12)) == expected(3)
    assert numbers(filled.search(photos / "03.png", k=12)) == expected(3)[1:]


def test_a_match_says_what_it_is(filled: Index, photos: Path) -> None:
    put(photos / "wide.png", picture((250, 250, 0), (40, 10)))
    filled.add(photos)
    match = filled.search(picture((251, 250, 0)), k=1)[0]
    assert (match.rank, match.path, match.width, match.height, match.copies) == (1, photos / "wide.png", 40, 10, ())
    assert match.as_dict() == {
        "rank": 1,
        "score": match.score,
        "path": str(photos / "wide.png"),
        "id": match.id,
        "width": 40,
        "height": 10,
        "copies": [],
        "offline": False,
    }


def test_every_kind_of_query_gives_the_same_answer(filled: Index, photos: Path) -> None:
    path = photos / "05.png"
    image = Image.open(path)
    image.load()
    (own,) = filled.search(path, k=1, options=SearchOptions(include_self=True))
    kinds = [str(path), path, path.read_bytes(), image, np.asarray(image), own.id, own]
    answers = [filled.search(kind, k=12, options=SearchOptions(include_self=True)) for kind in kinds]
    assert all(numbers(answer) == expected(5) for answer in answers)
    assert filled.search_many(kinds, k=12, options=SearchOptions(include_self=True)) == answers


def test_an_indexed_picture_needs_no_network(filled: Index, photos: Path, encoder: ColourEncoder) -> None:
    before = encoder.calls
    (own,) = filled.search(photos / "05.png", k=1, options=SearchOptions(include_self=True))
    filled.search((photos / "05.png").read_bytes())
    filled.search(own.id)
    outside = photos.parent / "renamed.png"
    (photos / "05.png").rename(outside)
    filled.search(photos / "05.png")  # its place is known though the file is gone
    filled.search(outside)  # its content is known though the place is not
    assert encoder.calls == before


def test_an_index_opened_anew_answers_about_its_pictures_without_an_encoder(filled: Index, photos: Path) -> None:
    filled.close()
    with Index.open(filled._store.folder) as opened:
        assert numbers(opened.search(photos / "05.png", k=12)) == expected(5)[1:]
        with pytest.raises(BadInput, match="own"):
            opened.search(picture((1, 2, 3)))


def test_the_own_picture_is_left_out_of_results(filled: Index, photos: Path) -> None:
    shutil.copy(photos / "05.png", photos.parent / "same bytes.png")
    (own,) = filled.search(photos / "05.png", k=1, options=SearchOptions(include_self=True))
    for query in (photos / "05.png", own.id, own):
        assert numbers(filled.search(query, k=12)) == expected(5)[1:]
        assert numbers(filled.search(query, k=12, options=SearchOptions(include_self=True))) == expected(5)
    others = photos.parent / "same bytes.png", (photos / "05.png").read_bytes(), Image.open(photos / "05.png")
    for query in others:  # pictures that happen to be in the index too: "do I have this already?"
        assert numbers(filled.search(query, k=12)) == expected(5)


def test_k_offset_and_min_score(filled: Index, photos: Path) -> None:
    query = photos / "05.png"
    whole = filled.search(query, k=100)
    assert len(whole) == 11
    assert [match.rank for match in whole] == list(range(1, 12))
    assert filled.search(query, k=3) == whole[:3]
    assert filled.search(query, k=3, options=SearchOptions(offset=2)) == whole[2:5]
    assert filled.search(query, k=3, options=SearchOptions(offset=10)) == whole[10:]
    assert filled.search(query, k=3, options=SearchOptions(offset=11)) == []
    assert filled.search(query, k=100, options=SearchOptions(min_score=whole[4].score)) == whole[:5]
    assert filled.search(query, k=12, options=SearchOptions(min_score=1, include_self=True)) == filled.search(
        query, k=1, options=SearchOptions(include_self=True)
    )
    for wrong in (0, -1):
        with pytest.raises(BadInput, match=f"k must be at least 1, not {wrong}"):
            filled.search(query, k=wrong)
    with pytest.raises(BadInput, match="offset must be at least 0, not -1"):
        SearchOptions(offset=-1)


def test_equal_scores_stand_in_ascending_order_of_id(index: Index, photos: Path) -> None:
    for number in range(60):  # different files of one picture
        put(photos / f"same{number:02}.png", picture((9, 9, 9), compress_level=number % 10, dpi=(number + 1, 1)))
    index.add(photos)
    for k in (5, 30, 72):
        matches = index.search(picture((9, 9, 9), (8, 8)), k=k)
        same = [match for match in matches if match.path.stem.startswith("same")]
        assert len(same) == min(k, 60)
        assert len({match.score for match in same}) == 1
        assert [match.id for match in same] == sorted(match.id for match in same)
    assert (
        index.search_many([picture((9, 9, 9), (8, 8))] * 40, k=30)
        == [index.search(picture((9, 9, 9), (8, 8)), k=30)] * 40
    )


def test_an_empty_index_has_no_answers(index: Index) -> None:
    assert index.search(picture((1, 2, 3))) == []
    assert index.search_many([]) == []


def test_a_query_that_is_no_picture_is_refused_in_a_sentence(filled: Index, photos: Path) -> None:
    put(photos / "text.jpg", b"words")
    cases = {
        photos / "text.jpg": "text.jpg cannot be used: not a picture in a known format",
        photos / "nowhere.jpg": "nowhere.jpg cannot be read: no such file",
        photos: "is a directory",
        b"": "empty file",
        b"words": "not a picture in a known format",
    }
    for query, sentence in cases.items():
        with pytest.raises(UnreadableImage, match=sentence):
            filled.search(query)
    arrays = [np.full((4, 4), 2.0), np.zeros((4, 4, 5), np.uint8), np.zeros((0, 4, 3), np.uint8), np.zeros((4, 4), int)]
    for query in [12345, True, 1.5, None, *arrays]:
        with pytest.raises(BadInput):
            filled.search(query)  # type: ignore[arg-type]


def test_an_array_of_any_kind_is_the_picture_that_it_shows(filled: Index) -> None:
    grey = np.full((8, 8), 51, np.uint8)
    expected = filled.search(picture((51, 51, 51)), k=12)
    for array in (grey, grey.astype(np.uint16) * 257, grey / 255, np.dstack([grey] * 3 + [np.full_like(grey, 255)])):
        assert numbers(filled.search(array, k=12)) == numbers(expected)


def test_a_pil_image_is_taken_upright_and_over_white(filled: Index, photos: Path) -> None:
    half = Image.new("RGB", (40, 20), (255, 0, 0))
    half.paste((0, 0, 255), (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = half.transpose(Image.Transpose.ROTATE_90)
    turned.getexif()[0x0112] = 6
    upright = filled.search(half, k=12)
    assert filled.search(turned, k=12) == upright
    clear = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    assert numbers(filled.search(clear, k=12)) == numbers(filled.search(picture((255, 255, 255)), k=12))


def test_a_picture_the_network_finds_nothing_in_is_a_failure_not_a_vector(tmp_path: Path, photos: Path) -> None:
    class Blind(ColourEncoder):
        def images(self, batch):
            vectors = super().images(batch)
            vectors[batch[:, 0, 0, 0] == colour(3)[0]] = 0
            vectors[batch[:, 0, 0, 0] == colour(4)[0]] = np.nan
            return vectors

    with Index.create(tmp_path / "index", encoder=Blind()) as index:
        report = index.add(photos)
        assert (report.added, report.unreadable) == (10, 2)
        assert all(np.isfinite(match.score) for match in index.search(photos / "00.png", k=20))
        with pytest.raises(UnreadableImage, match="finds nothing"):
            index.search(photos / "03.png")


def test_making_and_opening(tmp_path: Path, encoder: ColourEncoder) -> None:
    with pytest.raises(IndexNotFound, match="no index"):
        Index.open(tmp_path / "index")
    assert not (tmp_path / "index").exists()
    Index.create(tmp_path / "index", encoder=encoder).close()
    with pytest.raises(IndexExists):
        Index.create(tmp_path / "index", encoder=encoder)
    with Index.open(tmp_path / "index") as index:
        assert index.info().images == 0


def test_another_model_is_refused_with_a_sentence_that_says_both(filled: Index, photos: Path) -> None:
    folder = filled._store.folder
    with pytest.raises(ModelMismatch, match=r"fingerprint colours; .* fingerprint shapes"):
        Index.open(folder, encoder=ColourEncoder("shapes"))
    with pytest.raises(ModelMismatch, match=r"made with an encoder of the user's own, not with resnet50"):
        Index.open(folder, backbone="resnet50")
    assert filled.add(photos).unchanged == 12


def test_info_counts(filled: Index, photos: Path) -> None:
    put(photos / "bad.png", b"\x89PNG\r\n\x1a\n")
    filled.add(photos)
    facts = filled.info().as_dict()
    keys = ("images", "vectors", "generation", "backbone", "dim", "roots", "offline", "failures", "bytes")
    assert tuple(facts) == (*keys, "search", "parity", "rule", "ranking")
    assert (facts["images"], facts["vectors"], facts["dim"], facts["offline"], facts["failures"]) == (12, 12, 13, 0, 1)
    assert facts["roots"] == [{"path": str(photos), "images": 12, "reachable": True, "exclude": []}]
    assert facts["search"] == [{"form": "exact", "vectors": 12, "recall": 1.0, "target": 1.0}]
    assert facts["bytes"] == sum(path.stat().st_size for path in filled._store.folder.rglob("*") if path.is_file())


def test_searches_from_many_threads_agree(filled: Index, photos: Path) -> None:
    answers: list[list[str]] = []

    def ask() -> None:
        answers.extend(numbers(filled.search(photos / "05.png", k=12)) for _ in range(20))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [expected(5)[1:]] * 160


@settings(max_examples=25, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=30))
def test_random_failures_never_shift_results(tmp_path_factory: pytest.TempPathFactory, bad: list[bool]) -> None:
    folder = tmp_path_factory.mktemp("photos")
    for number, broken in enumerate(bad):
        data = picture(colour(number))
        put(folder / "pictures" / f"{number:02}.png", data[: len(data) // 2] if broken else data)
    with Index.create(folder / "index", encoder=ColourEncoder()) as index:
        report = index.add(folder / "pictures")
        assert (report.added, report.unreadable) == (bad.count(False), bad.count(True))
        for number, broken in enumerate(bad):
            if not broken:
                matches = index.search(
                    folder / "pictures" / f"{number:02}.png", k=1, options=SearchOptions(include_self=True)
                )
                assert (matches[0].path.stem, matches[0].score) == (f"{number:02}", pytest.approx(1))
    assert os.path.isdir(folder)


def test_the_form_of_search_is_chosen_and_kept(tmp_path: Path, photos: Path, encoder: ColourEncoder) -> None:
    options = {"faiss": "HNSW8,SQ8", "recall": 0.95, "float16": True}
    with Index.create(tmp_path / "index", encoder=encoder, **options) as index:
        index._store.choose(flat=0)
        index.add(photos)
        assert [(part.form, part.target) for part in index.info().search] == [("HNSW8,SQ8", 0.95)]
        exact = index.search(photos / "03.png", k=5, options=SearchOptions(exact=True))
        assert exact == index.search(photos / "03.png", k=5)
    with Index.create(tmp_path / "wide", encoder=encoder) as index:
        index.add(photos)
        numbers = index.info().vectors * index.info().dim
    narrow, wide = (sum(p.stat().st_size for p in (tmp_path / n).glob("vectors/*.vectors")) for n in ("index", "wide"))
    assert wide - narrow == 2 * numbers
    with Index.open(tmp_path / "index", encoder=encoder) as index:
        index.configure(faiss="auto")
        index.compact()
        assert index.verify().whole
        with pytest.raises(BadInput, match="recall must be over 0"):
            index.configure(recall=0)
        with pytest.raises(BadInput, match="FAISS cannot make an index of the form HNSW,,"):
            index.configure(faiss="HNSW,,")
    with pytest.raises(BadInput, match="FAISS cannot make an index of the form nonsense"):
        Index.create(tmp_path / "other", encoder=encoder, faiss="nonsense")
    assert not (tmp_path / "other").exists()


def test_removing_most_leaves_a_structure_where_one_is_needed(filled: Index, photos: Path) -> None:
    """The dead are merged away, and with them the structure they were in; the living get one at once."""
    filled._store.choose(flat=4 * 13)
    filled.compact()
    for path in sorted(photos.glob("*.png"))[:8]:
        filled.remove(path)
    facts = filled.info()
    assert facts.vectors < 12
    assert EXACT not in {part.form for part in facts.search}


class TestViews:
    """A picture looked at in more ways than one."""

    @pytest.fixture
    def index(self, tmp_path: Path) -> Iterator[Index]:
        for number in range(6):
            put(tmp_path / f"photos/{number}.png", picture(colour(number)))
        with Index.create(tmp_path / "index", encoder=ColourEncoder()) as index:
            index.add(tmp_path / "photos")
            yield index

    @pytest.fixture
    def halves(self) -> np.ndarray:
        """Red on the left, green on the right, and blue all around."""
        pixels = np.zeros((80, 80, 3), np.uint8)
        pixels[..., 2] = 255
        pixels[20:60, 20:40], pixels[20:60, 40:60] = (255, 0, 0), (0, 255, 0)
        return pixels

    def test_their_mean_is_the_vector(self, index: Index, halves: np.ndarray) -> None:
        encoder, size = ColourEncoder(), ColourEncoder.size

        def vector(pixels: np.ndarray) -> np.ndarray:
            return encoder.images(decode.fit(Image.fromarray(np.ascontiguousarray(pixels)), size)[None])[0]

        parts = {
            "mirror": vector(halves)[[3, 4, 5, 0, 1, 2, 9, 10, 11, 6, 7, 8, 12]],
            "multiscale": vector(halves[12:68, 12:68]),
        }
        for views in (("mirror",), ("multiscale",), ("mirror", "multiscale")):
            mean = vector(halves) + sum(parts[name] for name in views)
            found = index.search(halves, 6, options=SearchOptions(views=views))
            stored = {match.id: vector(np.asarray(Image.open(match.path).convert("RGB"))) for match in found}
            expected = [float(stored[match.id] @ mean / np.linalg.norm(mean)) for match in found]
            assert [match.score for match in found] == pytest.approx(expected, abs=0.01)

    def test_a_file_is_looked_at_though_it_is_indexed(self, index: Index, halves: np.ndarray, tmp_path: Path) -> None:
        Image.fromarray(halves).save(tmp_path / "photos/halves.png")
        index.add(tmp_path / "photos")
        plain = index.search(tmp_path / "photos/halves.png", 6)
        mirrored = index.search(tmp_path / "photos/halves.png", 6, options=SearchOptions(views=["mirror"]))
        assert "halves.png" not in [match.path.name for match in mirrored]
        assert {match.id for match in plain} == {match.id for match in mirrored}
        assert [match.score for match in plain] != [match.score for match in mirrored]

    def test_what_is_no_view_is_refused(self, index: Index) -> None:
        with pytest.raises(BadInput, match="there is no view upside") as error:
            index.search(picture((1, 2, 3)), options=SearchOptions(views=["upside"]))
        assert "mirror, multiscale" in error.value.hint
