"""Questions of the command line to a server that runs already, through a socket in the folder of the index.

Only the user of the server can open the socket, so paths may be given here. The answer is that of `Index.answers`.
"""

import base64
import json
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from starlette.responses import JSONResponse

from retrieval.searching.options import SearchOptions
from retrieval.serving.guard import is_own
from retrieval.serving.library import Library
from retrieval.serving.problems import Problem
from retrieval.types import Blend, RetrievalSocket, Tagged

BACKLOG = 16
"""Number of connections that wait to be taken."""


@contextmanager
def listening(folder: Path) -> Iterator[socket.socket | None]:
    """Yield the socket of the index in a folder; None if another server has it, or the system has no such sockets."""
    place = folder / RetrievalSocket.NAME
    made = None if _is_taken(place) else _made(place)
    try:
        yield made
    finally:
        if made is not None:
            with suppress(OSError):
                place.unlink()


def _is_taken(place: Path) -> bool:
    """Tell whether a server listens there. What a killed one has left is deleted."""
    if not hasattr(socket, "AF_UNIX"):
        return True
    try:
        if not stat.S_ISSOCK(os.lstat(place).st_mode):
            return True
    except OSError:
        return False
    with socket.socket(socket.AF_UNIX) as asking:
        try:
            asking.connect(os.fspath(place))
        except ConnectionRefusedError:
            place.unlink(missing_ok=True)
            return False
        except OSError:
            return True
    return True


def _made(place: Path) -> socket.socket | None:
    """Return a new socket that only this user can open, None if the folder cannot have one."""
    made = socket.socket(socket.AF_UNIX)
    mask = os.umask(0o077)
    try:
        made.bind(os.fspath(place))
    except OSError:  # the folder cannot be written, or its path is too long
        made.close()
        return None
    finally:
        os.umask(mask)
    made.listen(BACKLOG)
    return made


def router(library: Library) -> APIRouter:
    """Return the route."""
    routes = APIRouter(include_in_schema=False)

    @routes.post(RetrievalSocket.ADDRESS)
    async def answers(request: Request) -> JSONResponse:
        if not is_own(request.scope):
            raise Problem(404, "Not Found")
        asked = json.loads(await request.body())
        return JSONResponse(await run_in_threadpool(_answers, library, asked))

    return routes


def _answers(library: Library, asked: dict[str, Any]) -> dict[str, Any]:
    """Answer the queries; `results` has None for one that cannot be answered, for which the client asks the index."""
    queries = [_query(query) for query in asked["queries"]]
    found = library.index.answers(queries, asked["k"], SearchOptions(**asked["options"]))
    return {
        "results": [_rows(result) for result in found.results],
        "coverage": asdict(found.coverage),
        "structures": found.structures,
        "among": found.among,
    }


def _rows(result: Any) -> list[dict[str, Any]] | None:  # noqa: ANN401 - matches or an error
    return None if isinstance(result, Exception) else [match.as_dict() for match in result]


def _query(given: dict[str, Any]) -> Any:  # noqa: ANN401 - any kind of query
    """Return a query of `Index.answers`."""
    match given:
        case {"path": str(path)}:
            return path
        case {"data": str(data)}:
            return base64.b64decode(data)
        case {"tag": str(words)}:
            return Tagged(words)
        case {"like": list(like), "unlike": list(unlike), "weights": weights}:
            return Blend([_query(one) for one in like], [_query(one) for one in unlike], weights)
    raise Problem(400, "this is no query")
