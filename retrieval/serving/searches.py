"""The searches of the API."""

from dataclasses import replace

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import ValidationError
from starlette.datastructures import UploadFile

from retrieval.pictures import thumbnails
from retrieval.serving.images import LARGE, jpeg
from retrieval.serving.library import Library
from retrieval.serving.problems import Problem
from retrieval.serving.records import MOST, PREFIX, Found, Search, Uploaded, in_order, links

FILE = {"type": "string", "format": "binary"}
PICTURE = {"requestBody": {"required": True, "content": {"image/*": {"schema": FILE}}}}
"""A picture as a body, for OpenAPI."""
BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/Search"}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "properties": {
                        "image": FILE,
                        "k": {"type": "integer", "minimum": 1, "maximum": MOST},
                        "where": {"type": "string"},
                        "crop": {"type": "string"},
                    },
                }
            },
        },
    }
}
"""The two forms of a search, for OpenAPI."""


def router(library: Library) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix=PREFIX)

    @routes.post("/uploads", status_code=201, openapi_extra=PICTURE)
    async def upload(request: Request) -> Uploaded:
        """Take a picture, the body of the request, to search with. It is kept in memory for a while."""
        data = await request.body()
        return Uploaded(upload=await run_in_threadpool(library.upload, data))

    @routes.post("/search", openapi_extra=BODY, response_model=Found)
    async def search(request: Request) -> Found:
        """Search with images of the index or uploaded ones (JSON), or with a file (multipart, `image`)."""
        asked = await _search_of(request, library)
        return await run_in_threadpool(_answer, library, asked)

    @routes.get("/uploads/{name}", response_class=Response, responses={200: {"content": {"image/jpeg": {}}}})
    def uploaded(name: str) -> Response:
        """Return an uploaded picture as a JPEG of at most 1600 pixels a side."""
        read = thumbnails.of_data(library.uploaded(name), None, LARGE)
        return jpeg(thumbnails.jpeg(read.pixels))

    return routes


async def _search_of(request: Request, library: Library) -> Search:
    """Return the search in the body of a request."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        if kind == "multipart/form-data":
            async with request.form(max_files=1, max_fields=20) as form:
                given = {name: value for name, value in form.items() if isinstance(value, str)}
                file = form.get("image")
                if not isinstance(file, UploadFile):
                    raise Problem(400, "there is no file with the name image")
                name = await run_in_threadpool(library.upload, await file.read())
            return Search.model_validate({**given, "like": [{"upload": name}]})
        return Search.model_validate_json(await request.body())
    except ValidationError as error:
        said = "; ".join(
            f"{'.'.join(map(str, fault['loc'])) or 'body'}: {fault['msg']}" for fault in error.errors()[:5]
        )
        raise Problem(422, said) from error


def _answer(library: Library, asked: Search) -> Found:
    question = asked.question()
    if asked.sort == "relevance":
        matches, more = library.search(question, asked.k)
    else:
        first = replace(question, options=replace(question.options, offset=0))
        ordered = in_order(library.search(first, MOST)[0], asked.sort)
        matches, more = ordered[asked.offset : asked.offset + asked.k], len(ordered) > asked.offset + asked.k
    return Found(
        matches=[match.as_dict() | links(match) for match in matches],
        next=asked.offset + len(matches) if more else None,
    )
