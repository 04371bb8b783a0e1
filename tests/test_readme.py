"""README is true: its commands and its Python run, its tables are the program's."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROJECT
from tests.fakes import colour, picture, put

README = (PROJECT / "README.md").read_text()


def blocks(kind: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return [text for named, text in found if named == kind]


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A folder with `photos` and `img.jpg`, and weights where RETRIEVAL_WEIGHTS says: random numbers in a real file."""
    home = tmp_path_factory.mktemp("readme")
    for number in range(16):
        name = f"{'holiday' if number % 2 else 'garden'}/{number}.jpg"
        put(home / "photos" / name, picture(colour(number), (64, 48), format="JPEG"))
    put(home / "img.jpg", picture(colour(9), (64, 48), format="JPEG"))
    code = (
        "from retrieval.backbones import Backbone\n"
        "from retrieval.networks.encoder.keras import application\n"
        "application(Backbone.choose(), 'random')[0].save_weights('mobilenet_v2_1.0_224_no_top.weights.h5')\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=home, check=True, capture_output=True)
    paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    own = {key: value for key, value in os.environ.items() if not key.startswith("RETRIEVAL_")}
    return home, {**own, "RETRIEVAL_WEIGHTS": str(home), "PATH": paths, "PYTHONPATH": str(PROJECT)}


def test_every_command_runs(surroundings: tuple[Path, dict[str, str]]) -> None:
    home, environment = surroundings
    commands = [
        line.removeprefix("$ ").partition("#")[0].strip() for text in blocks("console") for line in text.splitlines()
    ]
    assert len(commands) >= 11
    assert any("retrieval verify" in command for command in commands)
    for command in commands:
        result = subprocess.run(
            command, shell=True, cwd=home, env=environment, capture_output=True, text=True, check=False
        )
        assert (result.returncode, "error" in result.stderr) == (0, False), f"{command}: {result.stderr}"
    shutil.rmtree(home / "index_data")


def test_the_python_examples_run_one_after_the_other(surroundings: tuple[Path, dict[str, str]]) -> None:
    home, environment = surroundings
    code = "\n".join(blocks("python"))
    run = [sys.executable, "-c", code]
    result = subprocess.run(run, cwd=home, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[0] == "16 added"
    *_, facts, quality, worth = result.stdout.splitlines()
    assert facts == "8 True []"
    assert all(0 <= float(number) <= 1 for number in quality.split())
    assert "against mini as it is" in worth


def test_the_table_of_backbones_is_the_programs() -> None:
    table = subprocess.run([sys.executable, "-m", "retrieval", "backbones"], capture_output=True, text=True, check=True)
    assert table.stdout in blocks("")


def test_commands_and_floors_are_the_programs() -> None:
    from retrieval.cli.app import app
    from tests.test_architecture import FLOORS

    names = {command.callback.__name__ for command in app.registered_commands if command.callback is not None}
    assert names == {
        *("index", "query", "evaluate", "tune", "classify", "labels", "train"),
        *("backbones", "info", "verify", "remove", "compact"),
    }
    for name in names:
        assert f"retrieval {name}" in README
    drawn = next(text for text in blocks("") if "errors · types" in text)
    for number, rooms in enumerate(FLOORS):
        line = next(line for line in drawn.splitlines() if line.split()[0] == str(number))
        assert " · ".join(sorted(rooms)) == " · ".join(sorted(line.split("  ")[1].strip().split(" · ")))


def test_scripts_that_are_named_exist() -> None:
    for script in set(re.findall(r"scripts/\w+(?:\.py)?", README)):
        assert os.access(PROJECT / script, os.R_OK if script.endswith(".py") else os.X_OK), script
