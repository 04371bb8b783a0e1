"""A server of the index that runs already answers without a wait for the network to load."""

import base64
import http.client
import json
import os
import socket
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from retrieval.cli.find_index import NAME, open_index
from retrieval.cli.printing import note
from retrieval.types import Answers, Blend, Coverage, Match, RetrievalSocket, Tag, Tagged, Timing, displayed

if TYPE_CHECKING:
    from retrieval.index import Index
    from retrieval.networks.options import NetworkOptions
    from retrieval.searching.options import SearchOptions

MOST = 10_000_000
"""Largest number of bytes of pictures that are sent: a server takes 20 MB, and text takes a third more."""
DEFAULTS = {"backbone": None, "weights": None, "runtime": "auto", "precision": "auto", "threads": 0}
"""The options of a network with which a server answers as well as any other process."""
SECONDS = 600
"""Time to wait for an answer. A server that is busy is asked like any other; one that hangs is left."""
Query = str | bytes | Blend | Tagged


@dataclass(frozen=True, slots=True)
class Server:
    """A server of the index that would be used."""

    socket: str
    """Path of its socket."""

    def answers(self, queries: Sequence[Query], k: int, options: "SearchOptions") -> Answers | None:
        """Return what `Index.answers` would; None if the server cannot answer so, and the index has to be asked."""
        try:
            asked = {"queries": [_as_json(query) for query in queries], "k": k, "options": asdict(options)}
            found = _asked(self.socket, json.dumps(asked).encode())
        except (OSError, ValueError, http.client.HTTPException):
            return None
        if any(rows is None for rows in found["results"]):
            return None
        results: list[Any] = [[_match(row) for row in rows] for rows in found["results"]]
        structures = found["structures"] and tuple(found["structures"])
        return Answers(results, Coverage(**found["coverage"]), structures, found["among"])


@dataclass
class Answering:
    """What answers queries: a server of the index that runs, or else the index itself, which is opened then."""

    given: Path | None
    """The folder of the index, if the user named one."""
    network: "NetworkOptions"
    spent: Timing

    @cached_property
    def index(self) -> "Index":
        """The index, opened."""
        with self.spent.of("open"):
            return open_index(self.given, **self.network)

    @cached_property
    def _server(self) -> Server | None:
        return _running(self.given) if self.network == DEFAULTS else None

    def answers(self, queries: Sequence[Query], k: int, options: "SearchOptions") -> Answers:
        """Return what `Index.answers` does."""
        if options.where is None and self._server is not None:
            found = self._server.answers(queries, k, options)
            if found is not None:
                return found
        return self.index.answers(queries, k, options, timing=self.spent)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if "index" in self.__dict__:
            self.index.close()


def _running(given: Path | None) -> Server | None:
    """Return the server of the index that would be used, None if none of this user runs.

    `given` is the folder of the index, if the user named one.
    """
    here = Path.cwd()
    for folder in [given] if given is not None else [above / NAME for above in (here, *here.parents)]:
        if folder.is_dir():
            place = folder / RetrievalSocket.NAME
            if not (place.is_socket() and place.stat().st_uid == os.geteuid()):
                return None
            if given is None and folder.parent != here:
                note(f"using the index in {displayed(os.path.relpath(folder))}")
            return Server(os.fspath(place))
    return None


class _Connection(http.client.HTTPConnection):
    """A connection to a socket of this machine."""

    def __init__(self, place: str) -> None:
        super().__init__("localhost", timeout=SECONDS)
        self._place = place

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(SECONDS)
        self.sock.connect(self._place)


def _asked(place: str, body: bytes) -> dict[str, Any]:
    connection = _Connection(place)
    try:
        connection.request("POST", RetrievalSocket.ADDRESS, body, {"content-type": "application/json"})
        answer = connection.getresponse()
        data = answer.read()
        if answer.status != http.client.OK:
            raise ValueError(answer.status)
        found: dict[str, Any] = json.loads(data)
        return found
    finally:
        connection.close()


def _as_json(query: Query) -> dict[str, Any]:
    match query:
        case bytes():
            if len(query) > MOST:
                raise ValueError("too large to be sent")
            return {"data": base64.b64encode(query).decode()}
        case Tagged(words):
            return {"tag": words}
        case Blend(like, unlike, weights):
            parts = ([_as_json(one) for one in part] for part in (like, unlike))
            return dict(zip(("like", "unlike"), parts, strict=True)) | {"weights": weights}
    return {"path": os.path.abspath(query)}


def _match(row: dict[str, Any]) -> Match:
    """Return the match that `Match.as_dict` described."""
    paths = {name: tuple(map(Path, row.get(name, ()))) for name in ("copies", "similar")}
    tags = tuple(Tag(**tag) for tag in row.get("tags", ()))
    return Match(**row | paths | {"path": Path(row["path"]), "tags": tags})
