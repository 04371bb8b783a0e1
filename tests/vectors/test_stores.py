"""Vector stores made by name: our own, and one that another package registers."""

import subprocess
import sys
from pathlib import Path

import pytest

from retrieval import vectors
from retrieval.errors import BadInput
from retrieval.vectors.indexed import StructuredVectors
from retrieval.vectors.oracle import ExactVectors
from tests.contracts.vectors import some


class FakeVectors(ExactVectors):
    """A store of another package."""


@pytest.fixture
def _registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Register `FakeVectors` as "fake", as an installed package does, and something else as "faiss"."""
    package = tmp_path / "site" / "fake_store-1.0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: fake-store\nVersion: 1.0\n")
    fake = f"{__name__}:FakeVectors"
    (package / "entry_points.txt").write_text(
        f"[retrieval.vector_stores]\nfake = {fake}\nfaiss = {fake}\nabsent = module_that_is_not_there:Store\n"
    )
    monkeypatch.syspath_prepend(str(package.parent))


@pytest.mark.parametrize(("name", "kind"), [("faiss", StructuredVectors), ("exact", ExactVectors)])
def test_a_store_is_made_by_name_and_place(tmp_path: Path, name: str, kind: type) -> None:
    narrow, wide = (vectors.open_store(f"{name}:{tmp_path}", float16=float16) for float16 in (True, False))
    assert type(narrow) is kind
    ids, some_vectors = some(300)
    sizes = [(tmp_path / f"{store.append(ids, some_vectors)}.vectors").stat().st_size for store in (narrow, wide)]
    assert sizes[1] - sizes[0] > 300 * 24


def test_making_a_store_neither_reads_nor_writes(tmp_path: Path) -> None:
    vectors.open_store(f"faiss:{tmp_path / 'nowhere'}").check({"factory": "IVF16,SQ8"}, 24)
    assert not [*tmp_path.iterdir()]


def test_a_place_may_hold_any_characters(tmp_path: Path) -> None:
    folder = tmp_path / "a:b c?#%20ü\udcff"
    folder.mkdir()
    store = vectors.open_store(f"faiss:{folder}")
    assert store.count(store.append(*some(3))) == 3
    assert len([*folder.iterdir()]) == 1


@pytest.mark.parametrize("url", ["milvus:here", "", ":", "/a/folder", "FAISS:x"])
def test_an_unknown_name_is_refused_with_the_known_ones(url: str) -> None:
    with pytest.raises(BadInput, match="there is no vector store named ") as error:
        vectors.open_store(url)
    assert error.value.hint == "vector stores: exact, faiss"


@pytest.mark.usefixtures("_registered")
def test_another_package_registers_a_store(tmp_path: Path) -> None:
    store = vectors.open_store(f"fake:{tmp_path}")
    assert type(store) is FakeVectors
    ids, some_vectors = some(5)
    assert store.snapshot([store.append(ids, some_vectors)]).search(some_vectors, 1).ids[:, 0].tolist() == ids.tolist()
    with pytest.raises(BadInput) as error:
        vectors.open_store("milvus:here")
    assert error.value.hint == "vector stores: absent, exact, faiss, fake"


@pytest.mark.usefixtures("_registered")
def test_a_name_of_our_own_is_not_taken_by_another_package(tmp_path: Path) -> None:
    assert type(vectors.open_store(f"faiss:{tmp_path}")) is StructuredVectors


@pytest.mark.usefixtures("_registered")
def test_what_another_package_registers_is_loaded_on_first_use() -> None:
    """A broken registration breaks only the store that is asked for."""
    with pytest.raises(ModuleNotFoundError):
        vectors.open_store("absent:x")


def test_questions_that_touch_no_vector_import_no_numpy(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from retrieval import vectors\n"
        "store = vectors.open_store('faiss:' + sys.argv[1])\n"
        "segments = [('a' * 64, 3), ('b' * 64, 3)]\n"
        "store.worth_merging(segments, 1), store.worth_folding(segments, 24, {})\n"
        "store.wants_structure(3, 24, {}), store.damaged_structures(['a' * 64], thorough=False)\n"
        "print([name for name in ('numpy', 'faiss') if name in sys.modules])\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "[]\n"
