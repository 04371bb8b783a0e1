"""The images of the API, and the facts about the index."""

from collections.abc import Sequence
from itertools import islice
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response

from retrieval.pictures import thumbnails
from retrieval.serving.library import Library
from retrieval.serving.records import MOST, PREFIX, Id, Listed, as_dict, in_order
from retrieval.types import IndexedImage

FOREVER = {"cache-control": "private, max-age=31536000, immutable"}
"""Headers of what never changes: a picture that is named by its content."""
LARGE = 1600
"""Longer side of a picture that fills a window, in pixels."""


def router(library: Library) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix=PREFIX)
    index = library.index

    @routes.get("/info")
    def info() -> dict[str, Any]:
        """Return the facts about the index, as `retrieval info --json`."""
        return index.info().as_dict() | {"read_only": library.read_only}

    @routes.get("/terms")
    def terms() -> dict[str, int]:
        """Return terms of filters and the number of files that meet each."""
        return index.terms()

    @routes.get("/failures")
    def failures(
        offset: Annotated[int, Query(ge=0, le=10**9)] = 0, k: Annotated[int, Query(ge=1, le=MOST)] = 100
    ) -> list[dict[str, str]]:
        """Return the files that could not be read, each with the reason."""
        some = islice(index.failures(), offset, offset + k)
        return [{"path": str(failure.path), "reason": failure.reason} for failure in some]

    @routes.get("/images")
    def images(
        where: Annotated[str, Query(max_length=4000)] = "",
        offset: Annotated[int, Query(ge=0, le=10**7)] = 0,
        k: Annotated[int, Query(ge=1, le=MOST)] = 50,
        sort: Literal["path", "taken", "name"] = "path",
    ) -> Listed:
        """Return files of the index that meet a filter."""
        return _listed(library, where, offset, k, sort)

    @routes.get("/images/{id}")
    def image(id: Id) -> dict[str, Any]:  # noqa: A002 - the name in the address
        """Return an image with all of its files."""
        first = library.file_of(id)
        return as_dict(first) | {"files": [str(file.path) for file in index.files_of([id])[id]]}

    @routes.get("/images/{id}/thumbnail", response_class=Response, responses={200: {"content": {"image/jpeg": {}}}})
    def thumbnail(id: Id) -> Response:  # noqa: A002
        """Return a picture as a JPEG of at most 256 pixels a side. It is made of the pixels, never passed on."""
        first = library.file_of(id)
        return jpeg(thumbnails.kept(first.sha256, first.path, first.width, first.height))

    @routes.get("/images/{id}/picture", response_class=Response, responses={200: {"content": {"image/jpeg": {}}}})
    def picture(id: Id) -> Response:  # noqa: A002
        """Return a picture as a JPEG of at most 1600 pixels a side. It is made of the pixels, never passed on."""
        first = library.file_of(id)
        read = thumbnails.of_data(library.original(first), bytes(first.path), LARGE)
        return jpeg(thumbnails.jpeg(read.pixels))

    return routes


def _listed(library: Library, where: str, offset: int, k: int, sort: str) -> Listed:
    some: Sequence[IndexedImage]
    if sort == "path":
        some = list(islice(library.index.images(where=where or None), offset, offset + k + 1))
    else:
        some = in_order(library.index.images(where=where or None), sort)[offset : offset + k + 1]
    return Listed(images=[as_dict(one) for one in some[:k]], next=offset + k if len(some) > k else None)


def jpeg(data: bytes) -> Response:
    """Return a picture, which never changes."""
    return Response(data, media_type="image/jpeg", headers=FOREVER)
