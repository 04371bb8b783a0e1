"""The Python API: making an index, opening it, and asking it."""

import hashlib
import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from retrieval import (
    BadInput,
    Index,
    IndexBusy,
    IndexDamaged,
    IndexedImage,
    IndexExists,
    IndexNotFound,
    Match,
    ModelMismatch,
    SearchOptions,
    Tagged,
    UnreadableImage,
)
from retrieval.storage import facts
from retrieval.types import EXACT, Metadata
from tests.fakes import ColourEncoder, colour, picture, put


def numbers(matches: list[Match]) -> list[str]:
    return [match.path.stem for match in matches]


@pytest.fixture
def filled(index: Index, photos: Path) -> Index:
    index.add(photos)
    return index


def expected(number: int, among: range = range(12)) -> list[str]:
    """The pictures `among`, in the order of their cosines with picture `number`, computed with numpy alone."""
    vectors = {n: np.array([*colour(n)] * 4 + [64.0]) for n in (*among, number)}
    unit = {n: vector / np.linalg.norm(vector) for n, vector in vectors.items()}
    return [f"{n:02}" for n in sorted(among, key=lambda n: -(unit[n] @ unit[number]))]


def test_scores_are_the_cosines_computed_by_hand(filled: Index, photos: Path) -> None:
    red = filled.search(picture((255, 0, 0)), k=1)[0]
    vector, other = np.array([255, 0, 0] * 4 + [64]), np.array([*colour(int(red.path.stem))] * 4 + [64])
    cosine = vector @ other / np.linalg.norm(vector) / np.linalg.norm(other)
    assert red.score == pytest.approx(cosine, abs=1e-6)
    assert numbers(filled.search(picture(colour(3), (9, 9)), k=12)) == expected(3)
    assert numbers(filled.search(photos / "03.png", k=12)) == expected(3)[1:]


def test_the_fields_of_a_match(filled: Index, photos: Path) -> None:
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


def test_an_opened_index_answers_about_its_images_without_an_encoder(filled: Index, photos: Path) -> None:
    filled.close()
    with Index.open(filled._store.folder) as opened:
        assert numbers(opened.search(photos / "05.png", k=12)) == expected(5)[1:]
        with pytest.raises(BadInput, match="own"):
            opened.search(picture((1, 2, 3)))


def test_the_query_itself_is_left_out_of_its_matches(filled: Index, photos: Path) -> None:
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


def test_a_query_that_is_not_a_picture_is_refused(filled: Index, photos: Path) -> None:
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


def test_arrays_of_all_types_are_pictures(filled: Index) -> None:
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


def test_a_picture_without_features_is_a_failure(tmp_path: Path, photos: Path) -> None:
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


def test_an_index_exists_once_it_is_made(tmp_path: Path, encoder: ColourEncoder) -> None:
    assert not Index.exists(tmp_path / "index")
    (tmp_path / "index").mkdir()
    assert not Index.exists(tmp_path / "index")
    Index.create(tmp_path / "index", encoder=encoder).close()
    assert Index.exists(tmp_path / "index")
    assert not Index.exists(tmp_path / "index" / "index.db")
    with pytest.raises(BadInput):
        Index.exists("")


def test_another_model_is_refused_and_both_are_named(filled: Index, photos: Path) -> None:
    folder = filled._store.folder
    with pytest.raises(ModelMismatch, match=r"fingerprint colours; .* fingerprint shapes"):
        Index.open(folder, encoder=ColourEncoder("shapes"))
    with pytest.raises(ModelMismatch, match=r"made with an encoder of the user's own, not with resnet50"):
        Index.open(folder, backbone="resnet50")
    assert filled.add(photos).unchanged == 12


def test_the_facts_of_info(filled: Index, photos: Path) -> None:
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


def test_the_search_structure_is_chosen_and_kept(tmp_path: Path, photos: Path, encoder: ColourEncoder) -> None:
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


def test_after_most_images_are_removed_the_rest_has_a_structure(filled: Index, photos: Path) -> None:
    """The vectors of removed images are merged away with their structure; the rest gets a new one at once."""
    filled._store.choose(flat=4 * 13)
    filled.compact()
    for path in sorted(photos.glob("*.png"))[:8]:
        filled.remove(path)
    facts = filled.info()
    assert facts.vectors < 12
    assert EXACT not in {part.form for part in facts.search}


class TestEmbed:
    """Vectors of pictures."""

    def test_every_kind_of_picture_has_a_vector_in_the_order_given(self, filled: Index, photos: Path) -> None:
        path = photos / "05.png"
        image = Image.open(path)
        image.load()
        id_ = filled.id_of(path)
        assert id_ is not None
        (match,) = filled.search(path, 1, SearchOptions(include_self=True))
        kinds = [str(path), path, path.read_bytes(), image, np.asarray(image), id_, np.int64(id_), match]
        vectors = filled.embed(kinds)
        assert (vectors.shape, vectors.dtype) == ((len(kinds), 13), np.float32)
        assert vectors == pytest.approx(np.tile(filled.vectors([id_]), (len(kinds), 1)), abs=1e-6)
        order = [photos / f"{number:02}.png" for number in (7, 2, 9)]
        assert filled.embed(order).tolist() == filled.vectors([filled.id_of(path) for path in order]).tolist()

    def test_rows_have_length_one_and_their_products_are_the_scores(self, filled: Index) -> None:
        outside = picture((1, 200, 3))
        matches = filled.search(outside, 12)
        (vector,) = filled.embed([outside])
        assert np.linalg.norm(vector) == pytest.approx(1)
        products = filled.vectors([match.id for match in matches]) @ vector
        assert products.tolist() == pytest.approx([match.score for match in matches], abs=1e-6)

    def test_indexed_pictures_need_no_network(self, filled: Index, photos: Path, encoder: ColourEncoder) -> None:
        before = encoder.calls
        filled.embed([photos / "05.png", (photos / "06.png").read_bytes(), filled.id_of(photos / "07.png")])
        assert encoder.calls == before

    def test_many_pictures_are_embedded_in_batches(self, filled: Index, encoder: ColourEncoder) -> None:
        pictures = [picture((number, 5, 9)) for number in range(70)]
        before = encoder.calls
        vectors = filled.embed(iter(pictures))
        assert encoder.calls - before == 3
        assert vectors[69].tolist() == pytest.approx(filled.embed(pictures[69:])[0].tolist())

    def test_the_caller_chooses_the_batch_and_is_told_how_many_are_done(
        self, filled: Index, encoder: ColourEncoder
    ) -> None:
        pictures, done = [picture((number, 5, 9)) for number in range(70)], []
        before = encoder.calls
        vectors = filled.embed(iter(pictures), batch_size=50, progress=done.append)
        assert (encoder.calls - before, done) == (2, [50, 70])
        assert vectors == pytest.approx(filled.embed(pictures), abs=1e-6)
        assert filled.embed([], progress=done.append).shape == (0, 13)
        assert done == [50, 70]
        with pytest.raises(BadInput, match="batch_size must be at least 1"):
            filled.embed(pictures, batch_size=0)
        with pytest.raises(BadInput, match="progress must be a function"):
            filled.embed(pictures, progress=True)  # type: ignore[arg-type]

    def test_a_picture_without_a_vector_is_an_error(self, filled: Index, photos: Path) -> None:
        with pytest.raises(UnreadableImage, match=r"nowhere\.png cannot be read: no such file"):
            filled.embed([photos / "05.png", photos / "nowhere.png", b"words"])
        with pytest.raises(UnreadableImage, match="not a picture in a known format"):
            filled.embed([b"words", photos / "nowhere.png"])
        with pytest.raises(BadInput, match="no image of the index has the id 12345"):
            filled.embed([12345])
        with pytest.raises(BadInput, match="a tag is not a picture"):
            filled.embed([Tagged("dog")])
        with pytest.raises(BadInput, match="pictures must be a list"):
            filled.embed(str(photos / "05.png"))

    def test_no_pictures_give_no_rows(self, filled: Index, tmp_path: Path, encoder: ColourEncoder) -> None:
        assert filled.embed([]).shape == filled.vectors([]).shape == (0, 13)
        with Index.create(tmp_path / "empty", encoder=encoder) as empty:
            assert empty.embed([]).shape == empty.vectors([]).shape == (0, 13)
            assert empty.embed([]).dtype == empty.vectors([]).dtype == np.float32


class TestVectors:
    """Stored vectors."""

    def test_they_are_given_by_id_in_the_order_given(self, filled: Index, photos: Path) -> None:
        ids = [filled.id_of(photos / f"{number:02}.png") for number in (8, 1, 1)]
        vectors = filled.vectors(ids)
        expected = np.array([[*colour(number)] * 4 + [64] for number in (8, 1, 1)], dtype=float)
        assert vectors == pytest.approx(expected / np.linalg.norm(expected, axis=1, keepdims=True), abs=1e-6)
        assert filled.vectors(np.array(ids)).tolist() == vectors.tolist()
        assert filled.vectors(iter(ids)).tolist() == vectors.tolist()

    def test_an_unknown_id_is_an_error(self, filled: Index, photos: Path) -> None:
        known = filled.id_of(photos / "05.png")
        with pytest.raises(BadInput, match="no image of the index has the id 7"):
            filled.vectors([known, 7])
        with pytest.raises(BadInput, match="an id must be at least 0"):
            filled.vectors([-1])
        with pytest.raises(BadInput, match="an id must be a whole number"):
            filled.vectors(["5"])  # type: ignore[list-item]
        filled.remove(photos / "05.png")
        with pytest.raises(BadInput, match="no image of the index has the id"):
            filled.vectors([known])


class TestContainer:
    """An index as a collection of images."""

    def test_len_counts_images_and_not_files(self, index: Index, photos: Path) -> None:
        assert len(index) == 0
        assert index, "an empty index is an index"
        index.add(photos)
        shutil.copy(photos / "05.png", photos / "copy.png")
        index.add(photos)
        assert len(index) == 12
        index.remove(photos / "00.png")
        assert len(index) == 11

    def test_in_looks_for_the_bytes_and_else_for_the_path(self, filled: Index, photos: Path, tmp_path: Path) -> None:
        assert photos / "05.png" in filled
        assert str(photos / "05.png") in filled
        shutil.copy(photos / "05.png", tmp_path / "copy elsewhere.png")
        assert tmp_path / "copy elsewhere.png" in filled
        put(tmp_path / "other.png", picture((1, 2, 3)))
        assert tmp_path / "other.png" not in filled
        assert photos / "nowhere.png" not in filled
        (photos / "05.png").unlink()
        assert photos / "05.png" in filled
        put(photos / "06.png", picture((1, 2, 3)))
        assert photos / "06.png" not in filled, "the file holds another picture now"
        for other in (5, None, b"bytes", filled.id_of(photos / "07.png")):
            assert other not in filled

    def test_repr_names_the_folder_and_what_is_in_it(self, filled: Index, tmp_path: Path) -> None:
        folder = tmp_path / "index"
        whole = f"<Index {folder}, 12 images, an encoder of the user's own>"
        assert repr(filled) == whole
        filled.close()
        assert repr(filled) == whole, "a closed index opens its files again"
        filled.close()
        database = folder / "index.db"
        database.write_bytes(database.read_bytes()[:100] + bytes(4000))
        assert repr(filled) == f"<Index {folder}>"
        filled.close()

    def test_images_are_records_in_byte_order_with_copies(self, filled: Index, photos: Path) -> None:
        shutil.copy(photos / "05.png", photos / "sub" / "a copy.png")
        put(photos / "Z.jpg", picture((8, 9, 10), (40, 10), format="JPEG"))
        filled.add(photos)
        images = list(filled.images())
        names = [f"{number:02}.png" for number in range(10)] + ["Z.jpg", "sub/10.png", "sub/11.png", "sub/a copy.png"]
        assert [image.path for image in images] == [photos / name for name in names]
        assert images[5].id == images[13].id == filled.id_of(photos / "05.png")
        data, modified = (photos / "Z.jpg").read_bytes(), (photos / "Z.jpg").stat().st_mtime_ns
        sha256 = hashlib.sha256(data).hexdigest()
        shown = IndexedImage(images[10].id, photos / "Z.jpg", 40, 10, "JPEG", Metadata(), len(data), modified, sha256)
        assert images[10] == shown
        assert [image.path for image in filled.images(photos / "sub")] == [photos / name for name in names[11:]]
        with pytest.raises(BadInput, match="no picture below"):
            list(filled.images(photos / "nowhere"))

    def test_images_are_read_in_pages(self, filled: Index, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = list(filled.images())
        monkeypatch.setattr(facts, "PAGE", 5)
        assert list(filled.images()) == whole
        slow = filled.images()
        first = next(slow)
        put(photos / "new.png", picture((1, 2, 3)))
        assert filled.add(photos).added == 1, "a slow reader does not hold a transaction"
        filled.compact()
        assert [first, *slow][:10] == whole[:10]


def test_neighbours_are_the_matches_without_paths(filled: Index, photos: Path, encoder: ColourEncoder) -> None:
    queries = [photos / "05.png", picture((1, 2, 3)), filled.id_of(photos / "07.png")]
    found = list(filled.neighbours(queries, 5))
    for query, neighbours in zip(queries, found, strict=True):
        matches = filled.search(query, 5)
        assert neighbours.ids.tolist() == [match.id for match in matches]
        assert neighbours.scores.tolist() == [match.score for match in matches]
        assert filled.matches(neighbours) == matches
    calls = encoder.calls
    many = list(filled.neighbours((picture((number, 5, 9)) for number in range(70)), 3))
    assert (len(many), encoder.calls - calls) == (70, 3)
    with pytest.raises(UnreadableImage):
        list(filled.neighbours([photos / "05.png", b"words"], 3))


def test_no_transaction_is_open_between_neighbours(filled: Index, photos: Path) -> None:
    slow = filled.neighbours([picture((number, 5, 9)) for number in range(40)], 20)
    first = next(slow)
    put(photos / "new.png", picture((1, 2, 3)))
    filled.add(photos)
    filled.compact()
    rest = list(slow)
    assert [len(first.ids), len(rest[0].ids), len(rest[-1].ids)] == [12, 12, 13], "a batch is of one state"


class TestReadingChangesNothing:
    """Opening an index, searching and looking change no file of it."""

    @staticmethod
    def files(folder: Path) -> dict[str, tuple[bytes, int]]:
        """The bytes and the modification time of each file, but for the memory that SQLite shares among processes."""
        return {
            str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
            for path in sorted(folder.rglob("*"))
            if path.is_file() and not path.name.endswith("-shm")
        }

    @staticmethod
    def look(folder: Path, photos: Path) -> None:
        with Index.open(folder, encoder=ColourEncoder()) as index:
            options = SearchOptions(exact=True, ranking="expansion", likelihood=True, tags=True)
            assert len(index.search(photos / "05.png", 5, options)) == 5
            assert len(index.answers([picture((1, 2, 3))], 5).results) == 1
            assert len(list(index.neighbours([picture((1, 2, 3))], 3))) == 1
            assert index.embed([picture((1, 2, 3))]).shape == (1, 13)
            assert len(index) == index.info().images == len(list(index.images())) == 12
            assert photos / "05.png" in index
            assert index.coverage().images == 12
            assert index.folders()
            assert not list(index.failures())
            assert index.verify().whole
            assert "12 images" in repr(index)

    def test_no_byte_and_no_time_is_changed(self, filled: Index, photos: Path) -> None:
        folder = filled._store.folder
        filled.close()
        before = self.files(folder)
        self.look(folder, photos)
        assert self.files(folder) == before

    def test_nothing_is_changed_while_another_process_writes(self, filled: Index, photos: Path) -> None:
        folder = filled._store.folder
        with filled._store.writing():
            before = self.files(folder)
            self.look(folder, photos)
            assert self.files(folder) == before
            with Index.open(folder) as other, pytest.raises(IndexBusy):
                other.configure(faiss="flat")
            assert self.files(folder) == before

    def test_a_damaged_index_can_be_opened_and_is_not_changed(self, filled: Index) -> None:
        folder = filled._store.folder
        filled.close()
        for path in (folder / "vectors").iterdir():
            path.write_bytes(path.read_bytes()[:-5])
        before = self.files(folder)
        with Index.open(folder) as index:
            assert len(index) == 12
            with pytest.raises(IndexDamaged):
                index.search(next(iter(index.images())).id)
            assert not index.verify().whole
        assert self.files(folder) == before


def test_configure_keeps_what_is_not_given(filled: Index) -> None:
    folder = filled._store.folder
    filled.configure(faiss="HNSW8,SQ8", recall=0.95)
    filled.close()
    with Index.open(folder) as opened:
        opened.configure(recall=0.9)
        opened._store.choose(flat=0)
        opened.compact()
        assert [(part.form, part.target) for part in opened.info().search] == [("HNSW8,SQ8", 0.9)]
        with pytest.raises(BadInput, match="keeps vectors of float32"):
            opened.configure(float16=True)
        opened.configure(float16=False)
