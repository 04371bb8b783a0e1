"""The metadata of images that an earlier version has indexed are read from the headers of their files, once."""

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import ExifTags, Image

from retrieval import Index
from retrieval.indexing import headers
from retrieval.storage import migrations
from retrieval.types import Progress
from tests.fakes import ColourEncoder, picture, put

COUNT = 12


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number in range(COUNT):
        exif = Image.Exif()
        exif[ExifTags.Base.Model] = f"Camera {number}"
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = f"2020:01:{number + 1:02} 00:00:00"
        data = picture((20 * number, 90, 40), (40, 30), format="JPEG", exif=exif.tobytes())
        put(tmp_path / f"photos/{number:02}.jpg", data)
    return tmp_path / "photos"


def of_format_4(folder: Path) -> None:
    """Take from an index what format 5 has added."""
    with sqlite3.connect(folder / "index.db") as database:
        database.execute("DROP TABLE metadata")
        database.execute("UPDATE format SET version = 4")
    database.close()


def models(index: Index) -> list[str | None]:
    return [image.metadata.model for image in index.images()]


ALL = [f"Camera {number}" for number in range(COUNT)]


@pytest.fixture
def old(photos: Path, tmp_path: Path) -> Path:
    with Index.create(tmp_path / "index", encoder=ColourEncoder()) as index:
        index.add(photos)
        assert models(index) == ALL
    of_format_4(tmp_path / "index")
    return tmp_path / "index"


def test_the_next_update_reads_them_and_embeds_nothing(old: Path, photos: Path) -> None:
    encoder, seen = ColourEncoder(), list[Progress]()
    with Index.open(old, encoder=encoder) as index:
        assert models(index) == [None] * COUNT
        report = index.add(photos, progress=seen.append)
        assert (report.unchanged, report.added, encoder.pictures) == (COUNT, 0, 0)
        assert models(index) == ALL
        assert max(at.headers for at in seen) == COUNT
        assert index.verify().whole
        assert [image.taken for image in index.images(where='camera:"Camera 3"')] == ["2020-01-04T00:00:00"]
        seen.clear()
        index.add(photos, progress=seen.append)
        assert not any(at.headers for at in seen), "they are read once"


def test_filters_say_that_they_do_not_see_all_metadata_yet(old: Path, photos: Path) -> None:
    with Index.open(old, encoder=ColourEncoder()) as index:
        assert index.coverage().unread
        index.add(photos)
        assert not index.coverage().unread


def test_an_interrupted_run_goes_on_where_it_was(old: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headers, "PAGE", 5)

    def stop(at: Progress) -> None:
        if at.headers >= 5:
            raise KeyboardInterrupt

    with Index.open(old, encoder=ColourEncoder()) as index:
        with pytest.raises(KeyboardInterrupt):
            index.add(photos, progress=stop)
        assert models(index) == ALL[:5] + [None] * (COUNT - 5)
        seen = list[Progress]()
        index.add(photos, progress=seen.append)
        assert models(index) == ALL
        assert max(at.headers for at in seen) == COUNT - 5


def test_what_cannot_be_read_now_is_read_later(old: Path, photos: Path) -> None:
    away = photos.with_name("away.jpg")
    os.rename(photos / "03.jpg", away)
    with Index.open(old, encoder=ColourEncoder()) as index:
        index.add(photos)
        os.rename(away, photos / "03.jpg")
        index.add(photos)
        index.add(photos)
        assert models(index) == ALL


Harm = Callable[[sqlite3.Connection], object]


@pytest.mark.parametrize(
    "harm",
    [
        lambda database: database.execute("UPDATE metadata SET iso = 7, model = 'other'"),
        lambda database: database.execute("UPDATE metadata SET latitude = 1e300"),
        lambda database: database.execute("UPDATE metadata SET keywords = 'x'"),
    ],
)
def test_damaged_rows_are_found_and_read_again(photos: Path, tmp_path: Path, harm: Harm) -> None:
    with Index.create(tmp_path / "index", encoder=ColourEncoder()) as index:
        index.add(photos)
    with sqlite3.connect(tmp_path / "index/index.db") as database:
        harm(database)
    database.close()
    encoder = ColourEncoder()
    with Index.open(tmp_path / "index", encoder=encoder) as index:
        assert not index.verify().whole
        repaired = index.verify(repair=True)
        assert (repaired.whole, repaired.lost, repaired.unsaved) == (True, (), ())
        index.add(photos)
        assert (models(index), encoder.pictures) == (ALL, 0)


def test_metadata_leave_with_their_image(photos: Path, tmp_path: Path) -> None:
    with Index.create(tmp_path / "index", encoder=ColourEncoder()) as index:
        index.add(photos)
        index.remove(photos / "03.jpg")
        index.compact()
        assert index.verify().whole
    with sqlite3.connect(tmp_path / "index/index.db") as database:
        assert database.execute("SELECT count(*) FROM metadata").fetchone() == (COUNT - 1,)
    database.close()


def test_a_new_index_has_nothing_to_read_again(photos: Path, tmp_path: Path) -> None:
    assert len(migrations.STEPS) == 5
    seen = list[Progress]()
    with Index.create(tmp_path / "index", encoder=ColourEncoder()) as index:
        index.add(photos, progress=seen.append)
        index.add(photos, progress=seen.append)
    assert not any(at.headers for at in seen)
