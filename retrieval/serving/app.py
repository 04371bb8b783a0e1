"""The server as an ASGI application."""

from dataclasses import dataclass

from fastapi import FastAPI
from pydantic import BaseModel

from retrieval import __version__
from retrieval.errors import BadInput
from retrieval.index import Index
from retrieval.serving import images, own, pages, problems, reviews, searches, work
from retrieval.serving.guard import LOCAL, Guard
from retrieval.serving.library import Library
from retrieval.serving.problems import DESCRIBED
from retrieval.serving.records import PREFIX, Search


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """Who may ask the server, and for what."""

    read_only: bool = False
    """Whether everything that would change the index or files is refused."""
    any_name: bool = False
    """Whether the server is asked by other machines, under whatever name it has there. This needs a token, which a page
    of another site does not have."""
    token: str | None = None
    """What a request has to bring; None for nothing, on this machine alone."""


def describe(app: FastAPI, *models: type[BaseModel]) -> None:
    """Put models into the description of an app that it does not find by itself, because routes read them by hand."""
    schema = app.openapi()  # FastAPI keeps it
    for model in models:
        found = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schema["components"]["schemas"] |= found.pop("$defs", {}) | {model.__name__: found}


def application(index: Index, options: ServeOptions | None = None) -> Guard:
    """Return the server of an index."""
    chosen = options or ServeOptions()
    if chosen.any_name and chosen.token is None:
        raise BadInput("a server for other machines needs a token")
    library = Library(index, chosen.read_only)
    app = FastAPI(
        title="retrieval",
        version=__version__,
        openapi_url=f"{PREFIX}/openapi.json",
        redirect_slashes=False,
        docs_url=None,  # its page would ask other sites for its scripts
        redoc_url=None,
        responses=dict.fromkeys(("default", 422), DESCRIBED),  # 422: else FastAPI describes errors of its own form
    )
    problems.handle(app)
    for part in (images, searches, work, reviews, own, pages):
        app.include_router(part.router(library))
    describe(app, Search)
    return Guard(app, None if chosen.any_name else LOCAL, chosen.token)
