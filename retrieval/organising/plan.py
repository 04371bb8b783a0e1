"""A plan: what shall be done with which files, as pure data. Making one touches no file.

A path is absolute, and is bytes, because a file name need not be valid UTF-8.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from retrieval.errors import BadInput
from retrieval.types import displayed

Kind = Literal["trash", "move", "hardlink", "reflink", "sidecar"]
"""What is done with a file:

- `trash` moves it to the trash of the desktop.
- `move` moves it to another folder.
- `hardlink` makes its name lead to the file that stays. Both names are then one file, with one time and one mode, and a
  program that writes into it changes it under both names.
- `reflink` lets it share the blocks of the file that stays. Both remain files of their own.
- `sidecar` writes what is said of it into a new file beside it, `NAME.xmp`, and leaves the file itself as it is.
"""
LINKS = frozenset({"hardlink", "reflink"})
SIDECAR = b".xmp"
"""What the name of a sidecar has after the name of its picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """What shall be done with one file. Raises `BadInput` for fields that contradict each other."""

    kind: Kind
    path: bytes
    """The file on which is acted."""
    sha256: bytes
    """SHA-256 of its content, 32 bytes."""
    kept: bytes
    """The file that stays."""
    kept_sha256: bytes
    """SHA-256 of the content of the file that stays, 32 bytes. For links it must be equal to `sha256`."""
    target: bytes = b""
    """Existing folder to which `move` moves the file; empty for the other kinds."""
    text: str = ""
    """What `sidecar` writes; empty for the other kinds."""

    def __post_init__(self) -> None:
        name = displayed(self.path)
        if self.kind not in get_args(Kind):
            raise BadInput(
                f"{self.kind!r} is nothing that can be done with a file", hint=f"use {', '.join(get_args(Kind))}"
            )
        if not all(map(_is_whole, (self.path, self.kept, self.target or b"/"))):
            raise BadInput(f"the paths of an act on {name} must be absolute, without a zero byte")
        if (len(self.sha256), len(self.kept_sha256)) != (32, 32):
            raise BadInput(f"an act on {name} needs the SHA-256 of both files, 32 bytes each")
        if self.path == self.kept and self.kind != "sidecar":
            raise BadInput(f"{name} cannot go and stay at once")
        if self.kind in LINKS and self.sha256 != self.kept_sha256:
            raise BadInput(f"{name} and {displayed(self.kept)} differ, so one cannot be a link to the other")
        if (self.kind == "move") != bool(self.target):
            raise BadInput(f"an act on {name} needs a target folder if, and only if, it is a move")
        if (self.kind == "sidecar") != bool(self.text):
            raise BadInput(f"an act on {name} needs a text if, and only if, it writes a sidecar")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Acts, in the order in which they are done. Raises `BadInput` if acts contradict each other.

    If a sidecar of a file that stays cannot be written, the acts that follow and keep that file are not done.
    """

    acts: tuple[Act, ...]
    roots: tuple[bytes, ...]
    """Folders in which files may be acted on. Nothing outside them is touched, except the target of a move."""
    safe: tuple[bytes, ...] = ()
    """Folders in which nothing is acted on. Files in them may stay as the kept ones."""

    def __post_init__(self) -> None:
        paths = {act.path for act in self.acts if act.kind != "sidecar"}
        if len({(act.path, act.kind == "sidecar") for act in self.acts}) < len(self.acts):
            raise BadInput("a plan acts on a file twice")
        for act in self.acts:
            if act.kept in paths:
                raise BadInput(f"a plan keeps {displayed(act.kept)} and acts on it, too")
        if not all(map(_is_whole, (*self.roots, *self.safe))):
            raise BadInput("the roots and the safe folders of a plan must be absolute paths, without a zero byte")

    def as_dict(self) -> dict[str, Any]:
        """Return the plan as JSON can hold it. Paths are text; bytes that are not UTF-8 are surrogate escapes."""
        return {
            "acts": [_act_as_dict(act) for act in self.acts],
            "roots": [text_of(path) for path in self.roots],
            "safe": [text_of(path) for path in self.safe],
        }

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> "Plan":
        """Return the plan that `as_dict` described. Raises `BadInput` for anything else."""
        try:
            acts = tuple(_act_from_dict(act) for act in facts["acts"])
            roots, safe = (tuple(bytes_of(path) for path in facts[name]) for name in ("roots", "safe"))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, BadInput):
                raise
            raise BadInput("this is not a plan: a field is missing or has another type") from error
        return cls(acts=acts, roots=roots, safe=safe)


def _is_whole(path: bytes) -> bool:
    return os.path.isabs(path) and b"\0" not in path


def _act_as_dict(act: Act) -> dict[str, str]:
    return {
        "kind": act.kind,
        "path": text_of(act.path),
        "sha256": act.sha256.hex(),
        "kept": text_of(act.kept),
        "kept_sha256": act.kept_sha256.hex(),
        "target": text_of(act.target),
        "text": act.text,
    }


def _act_from_dict(facts: Mapping[str, str]) -> Act:
    return Act(
        kind=cast("Kind", facts["kind"]),
        path=bytes_of(facts["path"]),
        sha256=bytes.fromhex(facts["sha256"]),
        kept=bytes_of(facts["kept"]),
        kept_sha256=bytes.fromhex(facts["kept_sha256"]),
        target=bytes_of(facts["target"]),
        text=facts["text"],
    )


def text_of(path: bytes) -> str:
    """Return `path` as text that JSON can hold, on every system alike."""
    return path.decode("utf-8", "surrogateescape")


def bytes_of(text: str) -> bytes:
    """Return the path of which `text_of` made `text`."""
    return text.encode("utf-8", "surrogateescape")
