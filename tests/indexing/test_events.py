"""What an update tells of each file: the same as its report counts, after it is committed."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from retrieval import FileEvent, Index, Report
from tests.fakes import picture, put


def test_each_file_is_told_with_what_became_of_it(index: Index, photos: Path) -> None:
    told: list[FileEvent] = []
    index.add(photos, tell=told.extend)
    assert Counter(event.event for event in told)["added"] == len([*index.images()])
    told.clear()
    put(photos / "new.png", picture((1, 2, 3)))
    put(photos / "00.png", picture((9, 99, 9)))
    put(photos / "copy.png", (photos / "02.png").read_bytes())
    put(photos / "bad.png", b"\x89PNG\r\n\x1a\n")
    (photos / "01.png").unlink()
    (photos / "03.png").rename(photos / "moved.png")
    names = ("new.png", "00.png", "copy.png", "bad.png", "01.png", "03.png", "moved.png")
    index.update([photos / name for name in names], tell=told.extend)
    assert {(event.event, event.path.name, event.before and event.before.name) for event in told} == {
        ("added", "new.png", None),
        ("changed", "00.png", None),
        ("copied", "copy.png", None),
        ("unreadable", "bad.png", None),
        ("gone", "01.png", None),
        ("moved", "moved.png", "03.png"),
    }
    moved = next(event for event in told if event.event == "moved")
    assert moved.as_dict() == {
        "event": "moved",
        "path": str(photos / "moved.png"),
        "id": index.id_of(photos / "moved.png"),
        "before": str(photos / "03.png"),
    }


def test_what_is_told_can_be_found_already(index: Index, photos: Path) -> None:
    found: list[int | None] = []

    def look(events: Sequence[FileEvent]) -> None:
        found.extend(index.id_of(event.path) for event in events if event.event == "added")

    index.add(photos, tell=look)
    assert found
    assert None not in found


def test_a_root_that_goes_away_is_told_once(index: Index, photos: Path) -> None:
    index.add(photos)
    photos.rename(photos.with_name("away"))
    told: list[FileEvent] = []
    index.add(photos, tell=told.extend)
    assert {event.event for event in told} == {"offline"}
    told.clear()
    index.add(photos, tell=told.extend)
    assert told == []


def test_a_whole_root_can_be_updated_by_its_path(index: Index, photos: Path) -> None:
    index.add(photos)
    put(photos / "new.png", picture((1, 2, 3)))
    assert index.update([photos]).added == 1
    (photos / ".retrievalignore").write_text("new.png\n")
    assert index.update([photos / ".retrievalignore"]) == Report(unchanged=12, removed=1)
