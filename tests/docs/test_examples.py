"""README and guide are true: their commands and their Python run, on drawn pictures and with the backbone mini."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from scripts.cli_reference import sections
from scripts.drawings import SIZE, draw, draw_all
from tests.commands import called
from tests.conftest import PROJECT
from tests.docs.pages import NOT_RUN, OUTPUT, PAGES, PYTHON, README, SHELL, SLOW, Block, blocks, words
from tests.fakes import put

REASONS = {
    "the tests run in an environment where the package is installed",
    "downloads 9 MB",
    "needs the weights of mobilenet_v2 and compares three networks",
    "needs weights with their classifier",
    "downloads weights with their classifier",
    "measures for minutes, on pictures and weights that are not part of the repository",
    "names folders of one machine",
    "opens windows",
    "acts on files, or needs other ones",
}
"""All reasons for which a block does not run. A new one is to be a better reason than that it fails."""
TRAINS = "trains a network"
"""The reason for the mark `slow` of blocks that need TensorFlow."""
COMMANDS = {title: set(re.findall(r"--[a-z][\w-]*", text)) for title, text in sections()}
"""Command -> the long options in its help."""
SHELLS = {"|", "<", ">", "&&", ";"}
"""Words that only a shell understands."""
RUNS = {"-x", "-X"}
"""Options whose commands write to the streams of the process."""
WEIGHTS = """
from retrieval.networks.catalogue import Backbone
from retrieval.networks.building import application
application(Backbone.choose(), 'random')[0].save_weights('mobilenet_v2_1.0_224_no_top.weights.h5')
"""


def named(page: Path) -> str:
    return page.relative_to(PROJECT).as_posix()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, user_cache: Path) -> Iterator[Path]:
    """A folder with `photos`, `img.jpg`, tables and an index, which each page gets a copy of."""
    home = tmp_path_factory.mktemp("template")
    photos = draw_all(home / "photos", 12)
    draw("sea", 42).resize(SIZE, Image.Resampling.LANCZOS).save(home / "img.jpg", quality=88)
    paths = sorted(path.relative_to(home) for path in photos.rglob("*.jpg"))
    put(home / "labels.csv", "\n".join(["path,label", *(f"{path},{path.parent.name}" for path in paths)]).encode())
    pairs = [f"{path},{path.with_name('00.jpg')}" for path in paths if path.name != "00.jpg"]
    put(home / "pairs.csv", "\n".join(["query,relevant", *pairs]).encode())
    put(home / "list.txt", b"img.jpg\nphotos/city/00.jpg\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", os.fspath(user_cache))
        patch.setenv("KERAS_HOME", os.fspath(home / "keras"))
        made = called("index", "photos", cwd=home)
    assert made.returncode == 0, made.stderr
    assert made.stdout == b"60 added\n"
    yield home
    shutil.rmtree(home)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the weights of mobilenet_v2: random numbers in a real file."""
    folder = tmp_path_factory.mktemp("weights")
    subprocess.run([sys.executable, "-c", WEIGHTS], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture
def home(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `template` for one page, where Keras knows no weights, as on a machine that is new."""
    folder = tmp_path / "home"
    shutil.copytree(template, folder)
    paths = os.pathsep.join([os.fspath(Path(sys.executable).parent), os.environ["PATH"]])
    for name, value in {"KERAS_HOME": folder / "keras", "PATH": paths, "PYTHONPATH": PROJECT}.items():
        monkeypatch.setenv(name, os.fspath(value))
    return folder


def run(block: Block, home: Path, names: dict[str, object]) -> None:
    """Run a block in the folder `home`: commands one by one, Python with the `names` of the blocks before it."""
    if block.kind == PYTHON:
        with contextlib.chdir(home):
            exec(compile(block.text, "example", "exec"), names)
        return
    for command in block.commands():
        parts = words(command)
        if parts[0] == "retrieval" and not (SHELLS | RUNS) & set(parts):
            ended = called(*parts[1:], cwd=home)
        else:
            ended = subprocess.run(command, shell=True, cwd=home, capture_output=True, check=False)
        assert (ended.returncode, b"error" in ended.stderr) == (0, False), f"{command}: {ended.stderr.decode()}"


def with_blocks(mark: str) -> list[object]:
    """Return the pages that have blocks with this mark, as parameters of a test."""
    found = []
    for page in PAGES:
        reasons = {block.reason for block in blocks(page) if block.mark == mark and block.kind != OUTPUT}
        marks = [pytest.mark.tensorflow] if TRAINS in reasons else []
        found += [pytest.param(page, id=named(page), marks=marks)] if reasons else []
    return found


@pytest.mark.parametrize("page", with_blocks(""))
def test_the_examples_of_a_page_run_one_after_the_other(page: Path, home: Path) -> None:
    names: dict[str, object] = {"__name__": "example"}
    for block in blocks(page):
        if not block.mark and block.kind != OUTPUT:
            run(block, home, names)


@pytest.mark.slow
@pytest.mark.parametrize("page", with_blocks(SLOW))
def test_the_long_examples_of_a_page_run(
    page: Path, home: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each in processes of its own, as some load TensorFlow."""
    monkeypatch.setenv("RETRIEVAL_WEIGHTS", os.fspath(weights))
    for block in blocks(page):
        if block.mark != SLOW:
            continue
        commands = [[sys.executable, "-c", block.text]]
        if block.kind == SHELL:
            commands = [["sh", "-c", command] for command in block.commands()]
        for command in commands:
            ended = subprocess.run(command, cwd=home, capture_output=True, text=True, check=False)
            assert (ended.returncode, "error" in ended.stderr) == (0, False), f"{command[-1]}: {ended.stderr}"


def test_what_does_not_run_has_a_known_reason() -> None:
    told = [(block.mark, block.reason) for page in PAGES for block in blocks(page) if block.mark]
    assert {reason for mark, reason in told if mark == NOT_RUN} == REASONS


def test_examples_that_do_not_run_are_written_right() -> None:
    for block in (block for page in PAGES for block in blocks(page) if block.mark):
        if block.kind == PYTHON:
            compile(block.text, "example", "exec")
            continue
        for parts in map(words, block.commands()):
            known = COMMANDS.get(" ".join(parts[:2])) if parts[0] == "retrieval" else set(parts)
            assert known is not None, parts
            assert {part for part in parts if part.startswith("--")} <= known, parts


def test_blocks_are_commands_python_or_output() -> None:
    kinds = {(named(page), block.kind) for page in PAGES for block in blocks(page)}
    assert {kind for _, kind in kinds} == {SHELL, PYTHON, OUTPUT}
    assert all(block.mark == "" for page in PAGES for block in blocks(page) if block.kind == OUTPUT)
    for page in PAGES:
        assert page.read_text().count("\n```") == 2 * len(blocks(page)), f"{named(page)}: a block is not closed"


def test_the_table_in_readme_is_the_answer_of_the_program(home: Path) -> None:
    (shown,) = (block.text.splitlines() for block in blocks(README) if block.text.startswith("rank "))
    given = called("query", "img.jpg", "-k", str(len(shown) - 1), cwd=home).stdout.decode().splitlines()
    assert given[0] == shown[0]
    for told, line in zip(shown[1:], given[1:], strict=True):
        rank, score, likely, path = told.split()
        assert [rank, path.partition("/photos/")[2]] == [line.split()[0], line.partition("/photos/")[2]]
        assert float(score) == pytest.approx(float(line.split()[1]), abs=0.01)
        assert float(likely.rstrip("%")) == pytest.approx(float(line.split()[2].rstrip("%")), abs=3)


@pytest.mark.slow
def test_the_picture_in_readme_is_what_the_script_makes(tmp_path: Path) -> None:
    made = tmp_path / "result.jpg"
    subprocess.run([PROJECT / "scripts" / "result_picture", made], check=True, capture_output=True)
    with Image.open(made) as new, Image.open(PROJECT / "docs" / "result.jpg") as old:
        assert new.size == old.size
        differing = sum(abs(a - b) > 16 for a, b in zip(new.tobytes(), old.tobytes(), strict=True))
        assert differing < 0.01 * len(old.tobytes())  # another version of Pillow may draw letters a little differently
