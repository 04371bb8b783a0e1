"""The files that Keras publishes: which it asks for, and what a download leaves behind, whatever happens to it.

A stand-in takes the place of the internet: in the process that downloads, `urlretrieve` reads the files of a folder.
"""

import contextlib
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pytest

from retrieval.errors import BadWeights, WeightsNotFound
from retrieval.networks import downloads, loading
from retrieval.networks.catalogue import IMAGENET, Architecture, Backbone
from retrieval.networks.weights import cached, cached_table, locate_weights
from tests.fakes import picture, put
from tests.networks.test_keras import OF_FAMILY, SMALL, each, message_is_one_sentence, network

pytestmark = pytest.mark.filterwarnings(
    # When Keras saves: its convert_to_numpy (backend/tensorflow/core.py) does not know the `copy` of numpy 2 yet.
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)
file_utils: Any = sys.modules[keras.utils.get_file.__module__]
"""The module of Keras that downloads files; tests replace its functions."""

# -- which file ----------------------------------------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that Keras asks for. It gets none of them."""
    names: list[str] = []

    def get_file(fname: str, *_: object, **__: object) -> str:
        names.append(fname)
        raise ConnectionError("there is no internet")

    monkeypatch.setattr(file_utils, "get_file", get_file)
    return names


def ask(backbone: Backbone) -> None:
    with pytest.raises(ConnectionError):
        downloads._downloaded({"backbone": backbone.as_json()}, ())


@pytest.mark.parametrize("found", each(quick={"mobilenet", "mobilenet_v2", "vgg16"}))
def test_keras_asks_for_the_file_that_the_table_names(found: Architecture, asked: list[str]) -> None:
    backbone = Backbone.choose(found.name)
    ask(backbone)
    assert asked == [backbone.weights_file]


@pytest.mark.parametrize("found", each(quick={"mobilenet", "mobilenet_v2"}))
def test_keras_asks_for_the_file_with_the_classifier_too(found: Architecture, asked: list[str]) -> None:
    backbone = Backbone.choose(found.name).topped()
    ask(backbone)
    assert asked == [backbone.weights_file]
    assert "top" not in backbone.weights_file


SIZES_AND_ALPHAS = [
    *(("mobilenet", alpha, size, None) for alpha in (0.25, 0.5, 0.75, 1.0) for size in (128, 160, 192, 200)),
    *(("mobilenet_v2", alpha, size, None) for alpha in (0.35, 0.5, 0.75, 1.0, 1.3, 1.4) for size in (96, 128, 100)),
    *((f"mobilenet_v3_{kind}", 0.75, 128, None) for kind in ("small", "large")),
    *((f"mobilenet_v3_{kind}", 1.0, 224, True) for kind in ("small", "large")),
]


@pytest.mark.parametrize(
    ("name", "alpha", "size", "minimalistic"),
    [
        pytest.param(
            *row, marks=[] if row[:3] in {("mobilenet", 0.25, 128), ("mobilenet", 0.5, 200)} else pytest.mark.slow
        )
        for row in SIZES_AND_ALPHAS
    ],
)
def test_keras_asks_for_that_file_with_options_too(
    name: str, alpha: float, size: int, minimalistic: bool | None, asked: list[str]
) -> None:
    backbone = Backbone.choose(name, alpha=alpha, input_size=size, minimalistic=minimalistic)
    ask(backbone)
    assert asked == [backbone.weights_file]


@pytest.mark.parametrize("found", each(OF_FAMILY, quick={"mobilenet"}))
def test_a_folder_of_weights_is_searched_for_keras_file_with_the_classifier(
    found: Architecture, asked: list[str], tmp_path: Path
) -> None:
    ask(Backbone.choose(found.name).topped())
    (tmp_path / asked[0]).touch()
    place = {"RETRIEVAL_WEIGHTS": str(tmp_path)}
    assert locate_weights(Backbone.choose(found.name), environment=place) == str(tmp_path / asked[0])


def test_options_without_keras_weights_are_refused_before_anything_is_built() -> None:
    with pytest.raises(WeightsNotFound, match="Keras has no weights of mobilenet_v2"):
        downloads.fetched(Backbone.choose("mobilenet_v2", alpha=0.6))


# -- what happens to it --------------------------------------------------------------------------------------------

STAND_IN = """
import os, shutil, time, urllib.error, urllib.request
def urlretrieve(url, target, report):
    source = os.path.join(os.environ["PUBLISHED"], os.path.basename(url))
    if not os.path.exists(source):
        raise urllib.error.URLError("Name or service not known")
    with open(source, "rb") as file:
        data = file.read()
    with open(target, "wb") as file:
        file.write(data[: len(data) // 2])
        file.flush()
        report(1, len(data) // 2, len(data))
        while os.path.exists(source + ".waits"):
            time.sleep(0.02)
        file.write(data[len(data) // 2 :])
    report(2, len(data) // 2, len(data))
urllib.request.urlretrieve = urlretrieve
"""


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of the files that the stand-in publishes. Keras' cache is empty."""
    put(tmp_path / "stand-in" / "sitecustomize.py", STAND_IN.encode())
    monkeypatch.syspath_prepend(tmp_path / "stand-in")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.setenv("KERAS_HOME", os.fspath(tmp_path / "keras"))
    (tmp_path / "published").mkdir()
    monkeypatch.setenv("PUBLISHED", os.fspath(tmp_path / "published"))
    return tmp_path / "published"


def left(folder: Path) -> list[str]:
    """The names of all files below Keras' cache."""
    return sorted(path.name for path in (folder.parent / "keras").rglob("*") if path.is_file())


def test_weights_are_downloaded_into_keras_cache_once(published: Path) -> None:
    network(Backbone.choose("mobilenet", alpha=0.25)).save(published / "mobilenet_2_5_224_tf_no_top.h5")
    path = downloads.fetched(SMALL)
    assert path == cached(SMALL) == published.parent / "keras" / "models" / "mobilenet_2_5_224_tf_no_top.h5"
    assert path.read_bytes() == (published / path.name).read_bytes()
    (published / path.name).unlink()
    before = path.stat()
    assert downloads.fetched(SMALL) == path
    assert path.stat() == before
    assert left(published) == [path.name]


def test_a_download_and_a_file_of_the_same_numbers_have_the_same_fingerprint(published: Path) -> None:
    network(Backbone.choose("mobilenet", alpha=0.25)).save(published / SMALL.weights_file)
    downloaded, given = loading.load(SMALL, IMAGENET), loading.load(SMALL, os.fspath(published / SMALL.weights_file))
    assert downloaded.size == (64, 64), "Keras has no weights for this size, but one file for all sizes"
    assert downloaded.fingerprint == given.fingerprint


def test_without_internet_and_file_the_error_names_the_ways_out(published: Path) -> None:
    with pytest.raises(WeightsNotFound, match="Name or service not known") as raised:
        downloads.fetched(SMALL)
    assert SMALL.weights_file in str(raised.value)
    assert message_is_one_sentence(raised.value)
    for way in (SMALL.weights_file, str(cached(SMALL).parent), "RETRIEVAL_WEIGHTS", "--weights FILE", "random"):
        assert way in raised.value.hint
    assert left(published) == []


def test_a_download_with_another_checksum_is_refused_and_not_kept(published: Path) -> None:
    backbone = Backbone.choose("vgg16", input_size=32)
    put(published / backbone.weights_file, b"not the weights")
    with pytest.raises(WeightsNotFound, match="could not be downloaded") as raised:
        downloads.fetched(backbone)
    assert "Incomplete or corrupted file detected" in str(raised.value)
    assert left(published) == []


def test_a_file_in_keras_cache_with_another_checksum_is_downloaded_again(published: Path) -> None:
    backbone = Backbone.choose("vgg16", input_size=32)
    put(cached(backbone), b"of another network")
    with pytest.raises(BadWeights, match="is damaged, or is not the file that Keras publishes") as raised:
        downloads.fetched(backbone)
    assert "delete the file, and it is downloaded again" in raised.value.hint
    assert left(published) == [backbone.weights_file]


def test_a_file_in_a_cache_that_cannot_be_written_is_used(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(cached(SMALL), b"weights")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(cached(SMALL).parent))

    monkeypatch.setattr("tempfile.mkdtemp", refuse)  # whoever runs the tests may write everywhere
    assert downloads.fetched(SMALL) == cached(SMALL)
    cached(SMALL).unlink()
    with pytest.raises(WeightsNotFound, match="Permission denied"):
        downloads.fetched(SMALL)


def test_what_a_killed_download_left_is_swept_a_day_later(published: Path) -> None:
    folder = cached(SMALL).parent
    for name, age in (("download-old", 2), ("download-new", 0)):
        put(folder / name / "models" / "part.h5", b"1")
        os.utime(folder / name, (time.time() - age * 86_400,) * 2)
    with pytest.raises(WeightsNotFound):
        downloads.fetched(SMALL)
    assert [path.name for path in folder.iterdir()] == ["download-new"]


def test_an_index_with_weights_of_keras_shows_the_download_and_can_be_interrupted(
    published: Path, tmp_path: Path
) -> None:
    backbone = Backbone.choose("mobilenet", alpha=0.25)
    network(backbone).save(published / backbone.weights_file)
    put(published / f"{backbone.weights_file}.waits", b"")
    put(tmp_path / "pictures" / "0.png", picture((1, 2, 3)))
    options = ["--backbone", "mobilenet", "--alpha", "0.25", "--weights", "imagenet", "-i", tmp_path / "index"]
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "retrieval", "index", tmp_path / "pictures", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, start_new_session=True)
    os.close(theirs)
    while backbone.weights_file not in left(published):
        time.sleep(0.02)
        assert process.poll() is None
    os.kill(process.pid, signal.SIGINT)
    process.communicate()
    shown = b""
    with contextlib.suppress(OSError), os.fdopen(ours, "rb") as file:
        while data := file.read1(4096):
            shown += data
    assert b"Downloading data from" in shown
    assert process.returncode == 130
    assert left(published) == []


def test_a_table_of_classes_with_another_checksum_is_refused_and_not_kept(published: Path) -> None:
    put(published / "imagenet_class_index.json", b"{}")
    with pytest.raises(WeightsNotFound, match=r"imagenet_class_index\.json"):
        downloads.fetched_table()
    assert left(published) == []


def test_the_table_of_classes_is_downloaded(published: Path, shared: Callable[[str], Path]) -> None:
    table = shared("weights/imagenet_class_index.json").read_bytes()
    put(published / "imagenet_class_index.json", table)
    assert downloads.fetched_table() == cached_table()
    assert cached_table().read_bytes() == table


FETCH = """
import sys
from retrieval.networks import downloads
from retrieval.networks.catalogue import Backbone
downloads.fetched(Backbone.choose("mobilenet", alpha=0.25))
"""


@pytest.mark.parametrize("who", ["child", "all"])
def test_a_download_that_is_killed_leaves_no_file_under_the_name_of_the_weights(published: Path, who: str) -> None:
    backbone = Backbone.choose("mobilenet", alpha=0.25)
    network(backbone).save(published / backbone.weights_file)
    put(published / f"{backbone.weights_file}.waits", b"")
    process = subprocess.Popen([sys.executable, "-c", FETCH], stderr=subprocess.PIPE, start_new_session=True)
    while backbone.weights_file not in left(published):
        time.sleep(0.02)
        assert process.poll() is None
    if who == "all":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(child), signal.SIGKILL)
    _, errors = process.communicate()
    assert not cached(backbone).exists()
    if who == "child":
        assert b"could not be downloaded (the process that did it was ended by the signal SIGKILL)" in errors
        assert left(published) == []
    (published / f"{backbone.weights_file}.waits").unlink()
    assert downloads.fetched(backbone).read_bytes() == (published / backbone.weights_file).read_bytes()


@pytest.mark.parametrize("terminal", [True, False])
def test_the_progress_of_a_download_goes_to_a_terminal_and_never_to_stdout(published: Path, terminal: bool) -> None:
    backbone = Backbone.choose("mobilenet", alpha=0.25)
    network(backbone).save(published / backbone.weights_file)
    ours, theirs = os.openpty() if terminal else os.pipe()
    done = subprocess.run(
        [sys.executable, "-c", FETCH], stdout=subprocess.PIPE, stderr=theirs, check=True, start_new_session=True
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError), os.fdopen(ours, "rb") as file:
        while data := file.read1(4096):
            shown += data
    assert done.stdout == b""
    assert (b"Downloading data from" in shown) is terminal


def test_a_folder_that_cannot_be_written_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("KERAS_HOME", os.fspath(tmp_path / "file"))
    with pytest.raises(WeightsNotFound, match="Not a directory"):
        downloads.fetched(SMALL)
