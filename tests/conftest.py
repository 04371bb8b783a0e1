"""Fixtures: the shared weights and pictures, which may be absent, and an index of coloured pictures."""

import os
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from retrieval import Index
from tests.fakes import ColourEncoder, colour, picture, put

pytest_plugins = ("tests.browser",)
PROJECT = Path(__file__).parent.parent
SHARED = Path(os.environ.get("RETRIEVAL_SHARED", PROJECT.parent / "shared"))


TENSORFLOW = find_spec("tensorflow") is not None
if not TENSORFLOW:
    os.environ.setdefault("KERAS_BACKEND", "openvino")  # with which tests can make networks, but not train or run them


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the slow tests too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if "slow" in item.keywords and not config.getoption("--slow"):
            item.add_marker(pytest.mark.skip(reason="slow; run with --slow"))
        if "tensorflow" in item.keywords and not TENSORFLOW:
            item.add_marker(pytest.mark.skip(reason="needs TensorFlow: pip install 'retrieval[train]'"))


@pytest.fixture(scope="session")
def user_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of the tests, shared by all of them: a network is converted once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _own_surroundings(monkeypatch: pytest.MonkeyPatch, user_cache: Path) -> None:
    """Keep the settings of whoever runs the tests out of them."""
    monkeypatch.setenv("XDG_CACHE_HOME", os.fspath(user_cache))
    for name in [name for name in os.environ if name.startswith("RETRIEVAL_") and name != "RETRIEVAL_SHARED"]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def shared() -> Callable[[str], Path]:
    """Give a file or folder of the shared data, or skip the test where it is absent."""

    def get(name: str) -> Path:
        path = (SHARED / "data" / name).resolve()
        if not path.exists():
            pytest.skip(f"the shared data is absent: no {path}")
        return path

    return get


@pytest.fixture
def encoder() -> ColourEncoder:
    return ColourEncoder()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of twelve pictures, each of its own colour: 00.png to 09.png, sub/10.png and sub/11.png."""
    folder = tmp_path / "photos"
    for number in range(12):
        put(folder / ("sub" if number > 9 else "") / f"{number:02}.png", picture(colour(number)))
    return folder


@pytest.fixture
def index(tmp_path: Path, encoder: ColourEncoder) -> Iterator[Index]:
    """An empty index."""
    with Index.create(tmp_path / "index", encoder=encoder) as made:
        yield made
