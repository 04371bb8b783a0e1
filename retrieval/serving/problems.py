"""Errors as problem details (RFC 9457): `type`, `title`, `status`, `detail`, and a `hint` if there is advice."""

import logging
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from retrieval import errors
from retrieval.types import displayed

log = logging.getLogger("retrieval")

MOST_FAULTS = 5
KIND = "application/problem+json"
DESCRIBED = {
    "description": "an error",
    "content": {
        KIND: {
            "schema": {
                "type": "object",
                "required": ["title", "status", "detail"],
                "properties": {
                    **{name: {"type": "string"} for name in ("type", "title", "detail", "hint")},
                    **{name: {"type": "integer"} for name in ("status", "at")},
                },
            }
        }
    },
}
"""A problem, for OpenAPI."""
STATUSES: tuple[tuple[type[errors.RetrievalError], int], ...] = (
    (errors.UnreadableImage, 422),
    (errors.BadInput, 400),
    (errors.IndexBusy, 409),
    (errors.MissingLibrary, 501),
    (errors.StorageError, 507),
)
"""Kind of error -> status; others are 500."""


class Problem(Exception):
    """A request that is answered by an error."""

    def __init__(self, status: int, detail: str, *, hint: str = "", **more: Any) -> None:  # noqa: ANN401 - JSON
        super().__init__(detail)
        self.status, self.detail, self.hint, self.more = status, detail, hint, more

    @classmethod
    def of(cls, error: errors.RetrievalError) -> "Problem":
        """Return the problem that an error of this package is."""
        status = next((status for kind, status in STATUSES if isinstance(error, kind)), 500)
        more = {"at": error.at} if isinstance(error, errors.BadFilter) else {}
        return cls(status, displayed(str(error)), hint=displayed(error.hint), **more)

    @classmethod
    def of_faults(cls, faults: Sequence[Any]) -> "Problem":
        """Return the problem of a request whose values have faults, as pydantic lists them."""
        said = [f"{'.'.join(map(str, fault['loc'])) or 'body'}: {fault['msg']}" for fault in faults[:MOST_FAULTS]]
        return cls(422, displayed("; ".join(said)))

    def response(self) -> Response:
        """Return the answer."""
        title = HTTPStatus(self.status).phrase
        facts = {"type": "about:blank", "title": title, "status": self.status, "detail": self.detail} | self.more
        if self.hint:
            facts["hint"] = self.hint
        headers = {"www-authenticate": "Bearer"} if self.status == HTTPStatus.UNAUTHORIZED else None
        return JSONResponse(facts, self.status, headers, KIND)


def handle(app: FastAPI) -> None:
    """Let an app answer errors as problems."""
    app.add_exception_handler(Problem, _of_problem)
    app.add_exception_handler(errors.RetrievalError, _of_error)
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(RequestValidationError, _of_validation)
    app.add_exception_handler(Exception, _of_anything)


async def _of_problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)  # noqa: S101 - it is registered for these
    return error.response()


async def _of_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, errors.RetrievalError)  # noqa: S101
    return Problem.of(error).response()


async def _of_http(_: Request, error: Exception) -> Response:
    return Problem(getattr(error, "status_code", 500), str(getattr(error, "detail", ""))).response()


async def _of_validation(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    return Problem.of_faults(error.errors()).response()


async def _of_anything(_: Request, error: Exception) -> Response:
    log.error("a request failed", exc_info=error)
    return Problem(500, "the server made a mistake; its log says more").response()
