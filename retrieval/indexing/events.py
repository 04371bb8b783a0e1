"""What became of each file in an update: told to the caller as soon as it is committed, and not before.

A file at a new path with known content may be a copy, or what another file was moved to. That is known only at the end
of the update, so that both are told then.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from retrieval.types import FileEvent

Tell = Callable[[Sequence[FileEvent]], None]
"""Takes one or more events, in the order in which the files were looked at."""


class Events:
    """The events of one update that were not told yet; they are kept only if somebody wants them."""

    def __init__(self, place: bytes = b"", tell: Tell | None = None) -> None:
        """Begin an update of the root at `place`, an absolute path."""
        self._place, self._tell = place, tell
        self._found: dict[bytes, FileEvent] = {}
        self._copies: dict[int, list[bytes]] = {}

    def add(self, event: str, path: bytes, image: int | None = None) -> None:
        """Note what became of the file at a path from the root. A later event of the file takes the place of this."""
        if self._tell is None or event == "unchanged":
            return
        if event == "copied" and image is not None:
            self._copies.setdefault(image, []).append(path)
        else:
            self._found[path] = FileEvent(event, self._absolute(path), image)

    def move(self, before: bytes, image: int) -> None:
        """Note that the file at `before` is gone, and one of the copies of its image is what became of it."""
        if self._tell is not None and self._copies.get(image):
            path = self._copies[image].pop(0)
            self._found[path] = FileEvent("moved", self._absolute(path), image, self._absolute(before))

    def tell(self, *, end: bool = False) -> None:
        """Tell all that was noted, now that it is committed; at the `end` of the update also the copies."""
        if end:
            copies = [(path, image) for image, paths in self._copies.items() for path in paths]
            self._found |= {path: FileEvent("copied", self._absolute(path), image) for path, image in copies}
            self._copies = {}
        found, self._found = list(self._found.values()), {}
        if found and self._tell is not None:
            self._tell(found)

    def _absolute(self, path: bytes) -> Path:
        return Path(os.fsdecode(os.path.join(self._place, path)))
