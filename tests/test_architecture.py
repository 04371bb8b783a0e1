"""The shape of the package: floors, lazy imports, public names, nothing of other people's business."""

import ast
import subprocess
import sys
import typing
from functools import cache
from pathlib import Path

import pytest

import retrieval

PACKAGE = Path(retrieval.__file__).parent
MODULES = sorted(path.relative_to(PACKAGE).with_suffix("").as_posix() for path in PACKAGE.rglob("*.py"))

FLOORS = [
    {"errors", "types"},
    {"arguments", "extras", "process"},
    {"disk", "plugins"},
    {"pictures", "vectors"},
    {"comparing", "networks", "storage"},
    {"indexing", "searching"},
    {"index"},
    {"measuring", "organising", "overview", "showing", "sklearn", "__init__"},
    {"serving", "training"},
    {"cli"},
    {"__main__"},
]
"""The folders of the package and its few files. A module imports from its own folder and from floors below."""
FACE = "__init__"
HEAVY = (
    "tensorflow",
    "keras",
    "faiss",
    "matplotlib",
    "openvino",
    "pandas",
    "sklearn",
    "fastapi",
    "jinja2",
    "pillow_heif",
    "pillow_jxl",
    "pyarrow",
    "rawpy",
    "rich",
    "scipy",
    "tifffile",
    "torch",
)


def room(module: str) -> str:
    """The folder of the package that a module is in, or the module itself where it is in none."""
    return module.partition("/")[0]


def imports(module: str) -> set[str]:
    """The modules of the package that a module imports, anywhere in it but for type checkers alone."""
    tree = ast.parse((PACKAGE / f"{module}.py").read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "retrieval":
            below = (node.module or "").replace(".", "/").removeprefix("retrieval").lstrip("/")
            found |= {_module(below, alias.name) for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {_module("", alias.name) for alias in node.names if alias.name.startswith("retrieval.")}
    return found - {module}


def _module(folder: str, name: str) -> str:
    """The module that `from retrieval.FOLDER import NAME` loads."""
    inner = f"{folder}/{name}".lstrip("/")
    return next(one for one in (inner, f"{inner}/{FACE}", folder, f"{folder}/{FACE}".lstrip("/")) if one in MODULES)


def test_every_room_has_a_floor() -> None:
    assert {room(module) for module in MODULES} == set().union(*FLOORS)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_from_its_own_folder_and_from_floors_below(module: str) -> None:
    floor = next(number for number, rooms in enumerate(FLOORS) if room(module) in rooms)
    allowed = set().union(*FLOORS[:floor]) | {room(module)}
    assert {room(other) for other in imports(module)} <= allowed


@pytest.mark.parametrize("module", MODULES)
def test_only_public_modules_of_a_folder_are_imported_from_outside(module: str) -> None:
    private = {
        other
        for other in imports(module)
        if room(other) not in {room(module), other} and not other.endswith(FACE) and other not in public()
    }
    assert not private


@cache
def public() -> frozenset[str]:
    """The modules that the faces of their folders name."""
    found = set()
    for face in (module for module in MODULES if module.endswith(f"/{FACE}")):
        for node in ast.parse((PACKAGE / f"{face}.py").read_text()).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                names = ast.literal_eval(node.value)
                found |= {f"{room(face)}/{name}" for name in names}
    return frozenset(found)


@pytest.mark.parametrize(
    ("package", "folder"), [("sqlalchemy", "storage"), ("sqlite3", "storage"), ("faiss", "vectors")]
)
def test_a_library_that_a_folder_hides_is_imported_there_alone(package: str, folder: str) -> None:
    users = {room(module) for module in MODULES if package in libraries(module)}
    assert users == {folder}


def libraries(module: str) -> set[str]:
    """The top-level packages of others that a module imports."""
    found = set()
    for node in ast.walk(ast.parse((PACKAGE / f"{module}.py").read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])
    return found


def test_no_files_import_one_another_in_a_circle() -> None:
    left = {module: imports(module) for module in MODULES}
    while free := {module for module, needed in left.items() if not needed & left.keys()}:
        left = {module: needed for module, needed in left.items() if module not in free}
    assert not left


@pytest.mark.parametrize("module", MODULES)
def test_only_plugins_imports_by_name(module: str) -> None:
    text = (PACKAGE / f"{module}.py").read_text()
    if module != "plugins":
        assert "importlib" not in text.replace("importlib.metadata", "")
        assert "__import__" not in text


@pytest.mark.parametrize("start", ["import retrieval.cli.app", "import retrieval.index", "from retrieval import Index"])
def test_importing_loads_nothing_heavy(start: str) -> None:
    code = f"{start}; import sys; print([name for name in {HEAVY!r} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_importing_the_package_loads_nothing_but_itself() -> None:
    code = "import retrieval, sys; print([n for n in ('numpy', 'sqlalchemy', 'PIL', 'typer') if n in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_all_names_what_can_be_imported() -> None:
    assert list(retrieval.__all__) == sorted(retrieval.__all__)
    for name in retrieval.__all__:
        assert getattr(retrieval, name).__name__ == name
    with pytest.raises(AttributeError):
        retrieval.nonsense  # noqa: B018 - the look-up is what is tested


def _ours(hint: object) -> set[type]:
    """The classes of this package in a type, with those in their fields."""
    found: set[type] = set()
    if isinstance(hint, type) and hint.__module__.split(".")[0] == "retrieval":
        found = {hint}
        is_record = hint.__module__ != "retrieval.errors" and hint is not retrieval.Filter  # a filter is made, not read
        for field in getattr(hint, "__annotations__", {}) if is_record else {}:
            found |= _ours(typing.get_type_hints(hint, localns=_names())[field])
    for part in typing.get_args(hint):
        found |= _ours(part)
    return found


def _names() -> dict[str, object]:
    """What modules import for type checkers alone."""
    import numpy as np
    from numpy.typing import NDArray

    from retrieval.searching.query import Query, Unusable

    exported = {name: getattr(retrieval, name) for name in retrieval.__all__}
    return exported | {"np": np, "NDArray": NDArray, "Query": Query, "Unusable": Unusable}


def test_every_record_that_the_index_takes_or_returns_is_exported() -> None:
    methods = [
        method
        for name, method in vars(retrieval.Index).items()
        if not name.startswith("_") and callable(getattr(retrieval.Index, name))
    ]
    records = set()
    for method in methods:
        function = getattr(method, "__func__", method)
        for hint in typing.get_type_hints(function, localns=_names()).values():
            records |= _ours(hint)
    assert {"SearchOptions", "NetworkOptions", "Match", "Tag", "SearchForm", "Verification"} <= {
        record.__name__ for record in records
    }
    for record in records:
        assert getattr(retrieval, record.__name__, None) is record


def test_every_error_is_exported() -> None:
    from retrieval import errors

    for name, value in vars(errors).items():
        if isinstance(value, type) and issubclass(value, Exception):
            assert getattr(retrieval, name) is value
            assert name in retrieval.__all__


def test_every_error_has_a_docstring_and_an_exit_code() -> None:
    from retrieval import errors

    classes = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]
    for kind in classes:
        error = kind("one sentence", hint="a way out")
        assert kind.__doc__
        assert kind.__name__ in (errors.__doc__ or "")
        assert (str(error), error.hint, error.exit_code) == ("one sentence", "a way out", 2)
        assert isinstance(error, retrieval.RetrievalError)


def test_the_version_is_said_once() -> None:
    import tomllib

    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]
    assert project["version"] == retrieval.__version__
    assert f"## {retrieval.__version__}" in (PACKAGE.parent / "CHANGELOG.md").read_text()
