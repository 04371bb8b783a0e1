"""What becomes of files: added, changed, moved, copied, gone, offline, unreadable, removed, and back again."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from retrieval import BadInput, Index, Report, UnreadableImage
from retrieval.indexing import update, worker
from retrieval.indexing.update import Settings, Update
from retrieval.pictures import given
from retrieval.searching.options import SearchOptions
from retrieval.storage import claims
from retrieval.types import Found
from tests.fakes import ColourEncoder, colour, picture, put


def counts(report: Report) -> dict[str, int]:
    """What a report counts, but for zeros and reasons."""
    names = ("added", "changed", "unchanged", "moved", "copied", "gone", "offline", "unreadable", "removed")
    return {name: getattr(report, name) for name in names if getattr(report, name)}


def paths(index: Index) -> set[str]:
    """Every place of every image of an index, as a search finds them."""
    matches = index.search(ANYTHING, k=1000, options=SearchOptions(include_self=True))
    return {str(path) for match in matches for path in (match.path, *match.copies)}


def unexpected(*_: object, **__: object) -> None:
    raise AssertionError("a file was opened")


ANYTHING = picture((1, 2, 3), (5, 5))


def test_a_first_run_adds_everything(index: Index, photos: Path) -> None:
    report = index.add(photos)
    assert counts(report) == {"added": 12}
    assert str(report) == "12 added"
    assert paths(index) == {str(path) for path in photos.rglob("*.png")}


def test_a_second_run_opens_nothing(
    index: Index, photos: Path, encoder: ColourEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.add(photos)
    monkeypatch.setattr("retrieval.indexing.worker._read", unexpected)
    assert counts(index.add(photos)) == {"unchanged": 12}
    assert encoder.pictures == 12


@pytest.mark.parametrize(("count", "places"), [(4, [2, 5, 8, 11]), (12, range(12)), (400, range(12))])
def test_a_sample_is_spread_over_the_whole_folder(
    index: Index, photos: Path, count: int, places: Sequence[int]
) -> None:
    index.add(photos)  # a picture that the index knows is decoded for a sample too
    if count > 12:
        put(photos / "broken.jpg", b"\xff\xd8\xff nothing")  # it is left out
    with index._store.writing():
        spot = claims.claim(index._store, os.fsencode(photos), [], [])
        update = Update(
            index._store, spot, Settings(), size=(2, 2), rule=3, encoder=unexpected, threads=2, progress=None
        )
        with index._store.rows() as rows:
            update.ids = rows.image_ids()
        pixels = update._sample(count)
    files = sorted(photos.rglob("*.png"), key=os.fsencode)
    expected = [given.pixels(files[place], (2, 2))[0] for place in places]
    np.testing.assert_array_equal(pixels, expected)


def test_a_touched_file_is_unchanged_and_not_embedded_again(index: Index, photos: Path, encoder: ColourEncoder) -> None:
    index.add(photos)
    os.utime(photos / "03.png", ns=(1, 1))
    assert counts(index.add(photos)) == {"unchanged": 12}
    assert encoder.pictures == 12
    generation = index.info().generation
    assert counts(index.add(photos)) == {"unchanged": 12}
    assert index.info().generation == generation  # its new time was kept, so nothing had to be written this time


def test_a_changed_file_is_seen_even_with_the_same_size_and_a_new_time(index: Index, photos: Path) -> None:
    """Two uncompressed pictures that differ only in the middle: a hash of both ends would take them for one."""
    first, second = (picture(colour(90), (900, 900), format="BMP") for _ in range(2))
    middle = len(first) // 2
    second = first[:middle] + bytes([first[middle] ^ 255]) + first[middle + 1 :]
    put(photos / "a.bmp", first)
    put(photos / "b.bmp", second)
    assert counts(index.add(photos)) == {"added": 14}
    assert index.info().images == 14
    put(photos / "a.bmp", second)
    os.utime(photos / "a.bmp", ns=(5, 5))
    assert counts(index.add(photos)) == {"changed": 1, "unchanged": 13}
    assert index.info().images == 13


def test_new_content_at_a_known_place_replaces_the_old(index: Index, photos: Path) -> None:
    index.add(photos)
    old = (photos / "00.png").read_bytes()
    put(photos / "00.png", picture(colour(50)))
    assert counts(index.add(photos)) == {"changed": 1, "unchanged": 11}
    assert index.info().images == 12
    assert index.search(picture(colour(50)), k=1, options=SearchOptions(include_self=True))[0].path == photos / "00.png"
    assert (
        index.search(old, k=1, options=SearchOptions(include_self=True))[0].score < 1
    )  # the old content is no result any more


def test_a_moved_file_is_not_embedded_again(index: Index, photos: Path, encoder: ColourEncoder) -> None:
    index.add(photos)
    (photos / "00.png").rename(photos / "sub" / "zz.png")
    assert counts(index.add(photos)) == {"moved": 1, "unchanged": 11}
    assert encoder.pictures == 12
    assert paths(index) == {str(path) for path in photos.rglob("*.png")}


def test_renaming_the_folder_of_everything_is_a_move(index: Index, photos: Path, encoder: ColourEncoder) -> None:
    shutil.move(photos / "sub", photos.parent / "aside")
    shutil.rmtree(photos)
    shutil.move(photos.parent / "aside", photos / "before")
    index.add(photos)
    (photos / "before").rename(photos / "after")
    assert counts(index.add(photos)) == {"moved": 2}
    assert encoder.pictures == 2


def test_renumbering_many_photos_loses_none(index: Index, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "retrieval.indexing.update.COMMIT_ROWS", 1
    )  # a commit after every batch, before others are looked at
    for number in range(300):
        put(photos / f"{number:03}.png", picture((number % 250, number // 250, 7)))
    assert index.add(photos).added == 312
    for number in range(299, -1, -1):
        (photos / f"{number:03}.png").rename(photos / f"{number + 1:03}.png")
    index.add(photos)
    assert index.info().images == 312
    assert index.verify().whole
    assert paths(index) == {str(path) for path in photos.rglob("*.png")}


def test_a_copy_is_one_image_with_two_places(index: Index, photos: Path, encoder: ColourEncoder) -> None:
    index.add(photos)
    shutil.copy(photos / "00.png", photos / "copy.png")
    assert counts(index.add(photos)) == {"copied": 1, "unchanged": 12}
    assert encoder.pictures == 12
    match = index.search(photos / "00.png", k=1, options=SearchOptions(include_self=True))[0]
    assert (match.path, match.copies) == (photos / "00.png", (photos / "copy.png",))
    (photos / "00.png").unlink()
    assert counts(index.add(photos)) == {"gone": 1, "unchanged": 12}
    assert index.info().images == 12


def test_the_same_content_twice_in_one_run_is_embedded_once(index: Index, photos: Path, encoder: ColourEncoder) -> None:
    for number in range(200):
        put(photos / f"copy{number:03}.png", picture(colour(number % 3)))
    assert counts(index.add(photos)) == {"added": 12, "copied": 200}
    assert encoder.pictures == 12
    assert index.info().vectors == 12


def test_a_deleted_file_is_gone_at_the_next_run(index: Index, photos: Path) -> None:
    index.add(photos)
    (photos / "00.png").unlink()
    assert counts(index.add(photos)) == {"gone": 1, "unchanged": 11}
    assert str(photos / "00.png") not in paths(index)
    assert counts(index.add(photos)) == {"unchanged": 11}


def test_a_vanished_root_is_offline_and_comes_back(index: Index, photos: Path, encoder: ColourEncoder) -> None:
    index.add(photos)
    photos.rename(photos.parent / "unplugged")
    assert counts(index.add(photos)) == {"offline": 12}
    assert index.info().offline == 12
    assert len(index.search(ANYTHING, k=50)) == 12  # still found
    (photos.parent / "unplugged").rename(photos)
    assert counts(index.add(photos)) == {"unchanged": 12}
    assert index.info().offline == 0
    assert encoder.pictures == 13  # the twelve and the query


def test_a_root_that_is_suddenly_empty_is_offline(index: Index, photos: Path) -> None:
    index.add(photos)
    photos.rename(photos.parent / "unplugged")
    photos.mkdir()  # the mount point of a drive that is not there
    assert counts(index.add(photos)) == {"offline": 12}
    photos.rmdir()
    (photos.parent / "unplugged").rename(photos)
    assert counts(index.add(photos)) == {"unchanged": 12}


def test_most_of_a_root_gone_at_once_is_not_believed(index: Index, photos: Path) -> None:
    index.add(photos)
    for number in range(7):
        (photos / f"{number:02}.png").unlink()
    assert counts(index.add(photos)) == {"offline": 7, "unchanged": 5}
    assert counts(index.add(photos)) == {"offline": 7, "unchanged": 5}
    assert index.info().images == 12
    assert counts(index.add(photos, prune=True)) == {"gone": 7, "unchanged": 5}
    assert index.info().images == 5


def test_half_of_a_root_gone_is_believed(index: Index, photos: Path) -> None:
    index.add(photos)
    for number in range(6):
        (photos / f"{number:02}.png").unlink()
    assert counts(index.add(photos)) == {"gone": 6, "unchanged": 6}


def test_only_prune_forgets_a_root_that_is_away(index: Index, photos: Path) -> None:
    index.add(photos)
    shutil.rmtree(photos)
    assert counts(index.add(photos)) == {"offline": 12}
    assert counts(index.add(photos, prune=True)) == {"gone": 12}
    assert (index.info().images, index.info().roots) == (0, ())


def test_a_folder_that_cannot_be_listed_is_offline_not_gone(
    index: Index, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.add(photos)
    scandir = os.scandir

    def refusing(path: str | bytes) -> object:
        if os.fsencode(path).rstrip(b"/").endswith(b"sub"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    assert counts(index.add(photos)) == {"offline": 2, "unchanged": 10, "unreadable": 1}
    monkeypatch.undo()
    assert counts(index.add(photos)) == {"unchanged": 12}


def test_a_damaged_file_neither_stops_nor_shifts_the_others(index: Index, photos: Path) -> None:
    for number in range(12):
        put(photos / f"{number:02}-bad.jpg", b"\xff\xd8\xff" + bytes([number]) * 40)
    report = index.add(photos)
    assert counts(report) == {"added": 12, "unreadable": 12}
    assert sum(report.reasons.values()) == 12
    for number in range(12):
        name = photos / ("sub" if number > 9 else "") / f"{number:02}.png"
        assert index.search(picture(colour(number), (64, 48)), k=1)[0].path == name


def test_a_failure_is_remembered_until_the_file_changes(
    index: Index, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(photos / "bad.png", b"\x89PNG\r\n\x1a\n and nothing more")
    assert counts(index.add(photos)) == {"added": 12, "unreadable": 1}
    (failure,) = index.failures()
    assert failure.path == photos / "bad.png"
    assert "damaged PNG" in failure.reason
    with monkeypatch.context() as patch:
        patch.setattr("retrieval.indexing.worker._read", unexpected)
        assert counts(index.add(photos)) == {"unchanged": 12, "unreadable": 1}
    assert counts(index.add(photos, retry_failed=True)) == {"unchanged": 12, "unreadable": 1}
    put(photos / "bad.png", picture(colour(60)))
    assert counts(index.add(photos)) == {"added": 1, "unchanged": 12}
    assert list(index.failures()) == []


def test_a_failure_is_tried_again_when_the_decoder_is_another(
    index: Index, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.add(photos)
    put(photos / "new.png", picture(colour(70)))

    def an_earlier_version(*_: object, **__: object) -> object:
        raise UnreadableImage("damaged PNG")

    with monkeypatch.context() as patch:
        patch.setattr("retrieval.pictures.decode.decode", an_earlier_version)
        assert index.add(photos).unreadable == 1
    assert index.add(photos).unreadable == 1
    monkeypatch.setattr("retrieval.pictures.formats.reader", lambda: "a later version")
    assert counts(index.add(photos)) == {"added": 1, "unchanged": 12}


def test_a_file_that_turned_into_rubbish_is_unreadable_and_its_old_picture_is_no_result(
    index: Index, photos: Path
) -> None:
    index.add(photos)
    put(photos / "00.png", b"\x89PNG\r\n\x1a\n torn")
    assert counts(index.add(photos)) == {"unchanged": 11, "unreadable": 1}
    assert index.info().images == 11


def test_a_file_that_cannot_be_opened_keeps_its_picture(
    index: Index, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.add(photos)
    os.utime(photos / "00.png", ns=(9, 9))

    import builtins

    real = builtins.open

    def refusing(path: object, *arguments: object, **options: object) -> object:
        if isinstance(path, bytes) and path.endswith(b"00.png"):
            raise OSError(5, "Input/output error")
        return real(path, *arguments, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(builtins, "open", refusing)
    assert counts(index.add(photos)) == {"unchanged": 11, "unreadable": 1}
    monkeypatch.undo()
    assert index.info().images == 12
    assert [failure.reason for failure in index.failures()] == ["input/output error"]
    assert counts(index.add(photos, retry_failed=True)) == {"unchanged": 12}
    assert list(index.failures()) == []


def test_files_that_are_no_pictures_are_passed_over_in_silence(index: Index, photos: Path) -> None:
    put(photos / "notes.txt", b"not a picture")
    put(photos / "movie.mp4", b"\0\0\0\x18ftypisom")
    put(photos / "empty", b"")
    put(photos / "lies.jpg", b"text, whatever the name says")
    report = index.add(photos)
    assert counts(report) == {"added": 12, "unreadable": 1}
    assert [failure.path.name for failure in index.failures()] == ["lies.jpg"]
    assert counts(index.add(photos)) == {"unchanged": 12, "unreadable": 1}


def test_a_subfolder_is_updated_alone(index: Index, photos: Path) -> None:
    index.add(photos)
    put(photos / "new.png", picture(colour(50)))
    put(photos / "sub" / "new.png", picture(colour(51)))
    (photos / "00.png").unlink()
    assert counts(index.add(photos / "sub")) == {"added": 1, "unchanged": 2}
    assert counts(index.add(photos)) == {"added": 1, "gone": 1, "unchanged": 12}
    assert [root.path for root in index.info().roots] == [photos]


def test_a_root_takes_over_those_below_it(index: Index, photos: Path, encoder: ColourEncoder) -> None:
    index.add(photos / "sub")
    assert counts(index.add(photos)) == {"added": 10, "unchanged": 2}
    assert encoder.pictures == 12
    assert [(root.path, root.images) for root in index.info().roots] == [(photos, 12)]


def test_a_hidden_folder_is_a_root_of_its_own(index: Index, photos: Path) -> None:
    put(photos / ".hidden" / "a.png", picture(colour(70)))
    assert counts(index.add(photos)) == {"added": 12}
    assert counts(index.add(photos / ".hidden")) == {"added": 1}
    assert counts(index.add(photos)) == {"unchanged": 12}
    assert counts(index.remove(photos / ".hidden" / "a.png")) == {"removed": 1}


def test_several_roots_stay_apart(index: Index, photos: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    put(other / "a.png", picture(colour(80)))
    index.add(photos)
    assert counts(index.add(other)) == {"added": 1}
    shutil.rmtree(photos)
    assert counts(index.add(other)) == {"unchanged": 1}
    assert index.info().images == 13


def test_removed_pictures_are_forgotten_and_found_again(index: Index, photos: Path) -> None:
    index.add(photos)
    assert counts(index.remove(photos / "00.png")) == {"removed": 1}
    assert counts(index.remove(photos / "sub")) == {"removed": 2}
    assert index.info().images == 9
    assert (photos / "00.png").exists()
    assert str(photos / "00.png") not in paths(index)
    assert counts(index.add(photos)) == {"added": 3, "unchanged": 9}
    assert len(paths(index)) == 12
    assert counts(index.remove(photos)) == {"removed": 12}
    assert index.info().roots == ()
    with pytest.raises(BadInput, match="nothing at"):
        index.remove(photos / "00.png")


def test_what_is_excluded_is_removed_and_stays_away(index: Index, photos: Path) -> None:
    index.add(photos)
    assert counts(index.add(photos, exclude=["sub/"])) == {"removed": 2, "unchanged": 10}
    put(photos / ".retrievalignore", b"0[0-4].png\n")
    assert counts(index.add(photos)) == {"removed": 5, "unchanged": 5}
    assert counts(index.add(photos)) == {"unchanged": 5}
    assert counts(index.add(photos, no_exclude=["sub/"])) == {"added": 2, "unchanged": 5}


def test_an_index_inside_the_folder_is_no_part_of_it(photos: Path, encoder: ColourEncoder) -> None:
    with Index.create(photos / "index_data", encoder=encoder) as index:
        put(photos / "index_data" / "thumbnail.png", picture(colour(40)))
        assert counts(index.add(photos)) == {"added": 12}


@pytest.mark.parametrize("name", [b"new\nline.png", b"\xff\xfe.png", "\U0001f600.png".encode(), b" .png", b"-k.png"])
def test_any_byte_string_is_a_path(index: Index, photos: Path, name: bytes) -> None:
    put(os.fsencode(photos) + b"/" + name, picture(colour(60)))
    index.add(photos)
    match = index.search(picture(colour(60), (64, 48)), k=1)[0]
    assert os.fsencode(match.path) == os.fsencode(photos) + b"/" + name
    assert counts(index.add(photos)) == {"unchanged": 13}
    assert counts(index.remove(match.path)) == {"removed": 1}


def test_a_symlink_loop_gives_each_picture_once(index: Index, photos: Path) -> None:
    (photos / "loop").symlink_to(photos, target_is_directory=True)
    (photos / "sub" / "up").symlink_to("..", target_is_directory=True)
    assert counts(index.add(photos)) == {"added": 12}


def test_a_library_moves_with_its_index(tmp_path: Path, photos: Path, encoder: ColourEncoder) -> None:
    with Index.create(tmp_path / "index", encoder=encoder) as index:
        index.add(photos)
    (tmp_path / "disk").mkdir()
    shutil.move(tmp_path / "index", tmp_path / "disk" / "index")
    shutil.move(photos, tmp_path / "disk" / "photos")
    with Index.open(tmp_path / "disk" / "index", encoder=encoder) as index:
        assert paths(index) == {str(path) for path in (tmp_path / "disk" / "photos").rglob("*.png")}
        assert counts(index.add(tmp_path / "disk" / "photos")) == {"unchanged": 12}


def test_a_path_that_is_no_folder_is_refused(index: Index, photos: Path) -> None:
    with pytest.raises(BadInput, match="does not exist"):
        index.add(photos / "nowhere")
    with pytest.raises(BadInput, match="is not a folder"):
        index.add(photos / "00.png")
    index.add(photos)
    for wrong in (photos / "nowhere", photos / "00.png"):  # within a root, too
        with pytest.raises(BadInput, match=r"does not exist|is not a folder"):
            index.add(wrong)


def test_a_subfolder_that_vanished_can_be_named(index: Index, photos: Path) -> None:
    index.add(photos)
    shutil.rmtree(photos / "sub")
    assert counts(index.add(photos / "sub")) == {"gone": 2}


def test_content_with_the_id_of_another_is_a_failure(
    index: Index, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retrieval.types.image_id", lambda sha256: sha256[0] >> 7)  # one bit: at most two images
    monkeypatch.setattr("retrieval.indexing.worker.image_id", lambda sha256: sha256[0] >> 7)
    report = index.add(photos)
    assert report.added == 2
    assert report.unreadable == 10
    assert list(report.reasons) == ["another picture of the index has the same 63-bit id"]


def test_progress_counts_up_to_the_total(index: Index, photos: Path) -> None:
    seen = []
    put(photos / "bad.png", b"\x89PNG\r\n\x1a\n")
    index.add(photos, progress=seen.append)
    assert (seen[-1].done, seen[-1].total, seen[-1].embedded, seen[-1].unreadable) == (13, 13, 12, 1)
    assert [at.done for at in seen] == sorted(at.done for at in seen)


def test_an_interruption_keeps_what_was_done(
    index: Index, photos: Path, encoder: ColourEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(100):
        put(photos / f"x{number:03}.png", picture(colour(number + 20)))
    images = encoder.images

    def interrupted(batch: object) -> object:
        if encoder.calls == 2:
            raise KeyboardInterrupt
        return images(batch)  # type: ignore[arg-type]

    monkeypatch.setattr(encoder, "images", interrupted)
    with pytest.raises(KeyboardInterrupt):
        index.add(photos)
    monkeypatch.undo()
    assert index.info().images == 64
    assert index.verify().whole
    assert counts(index.add(photos)) == {"added": 48, "unchanged": 64}


def test_a_file_that_changes_while_it_is_read_again_takes_what_it_holds_now(
    index: Index, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker knew its content, which has left the index by then; read again, it holds another that is known."""
    index.add(photos)
    first, second = (photos / "00.png").read_bytes(), (photos / "01.png").read_bytes()
    monkeypatch.setattr(update, "FEW", 0)  # for fewer files the worker does not know what the index has
    read, seen = worker.read, []

    def changing(task: worker.Task, file: Found) -> worker.Value:
        if file.path == b"z.png":
            seen.append(file)
            if len(seen) == 1:
                value = read(task, file)
                assert isinstance(value, worker.Known)
                return worker.Known(value.file, b"\1" * 32)  # a content that the index has not
            put(photos / "z.png", second)
        return read(task, file)

    put(photos / "z.png", first)
    monkeypatch.setattr(worker, "read", changing)
    assert counts(index.add(photos)) == {"copied": 1, "unchanged": 12}
    assert len(seen) == 2
    assert index.id_of(photos / "z.png") == index.id_of(photos / "01.png")
    assert index.verify().whole
