"""What the API takes and returns."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from retrieval.searching.options import SearchOptions
from retrieval.serving.library import Picture, Question
from retrieval.serving.problems import Problem
from retrieval.types import IndexedImage, Match

One = TypeVar("One", Match, IndexedImage)
PREFIX = "/api/v1"
MOST = 1000
"""Largest number of results of one answer."""
Id = Annotated[
    int, Field(ge=0, lt=2**63, description="Id of an image; a script should give it as text: it has 63 bits")
]


class Part(BaseModel):
    """A picture of a question: an image of the index, or an uploaded one."""

    model_config = ConfigDict(extra="forbid")
    id: Id | None = None
    upload: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    weight: Annotated[float, Field(gt=0, le=1000)] = 1.0

    @model_validator(mode="after")
    def _is_one(self) -> "Part":
        if (self.id is None) == (self.upload is None):
            raise ValueError("give either id or upload")
        return self

    def picture(self) -> Picture:
        """Return the picture."""
        return Picture(self.id, self.upload, self.weight)


class Search(BaseModel):
    """A search for similar images."""

    model_config = ConfigDict(extra="forbid")
    like: Annotated[list[Part], Field(max_length=20)] = []
    unlike: Annotated[list[Part], Field(max_length=20)] = []
    k: Annotated[int, Field(ge=1, le=MOST)] = 50
    offset: Annotated[int, Field(ge=0, le=10**7)] = 0
    where: Annotated[str, Field(max_length=4000)] | None = None
    crop: Annotated[str, Field(max_length=100)] | None = None
    min_score: Annotated[float, Field(ge=-1, le=1)] | None = None
    likely: bool = False
    group: bool = False
    sort: Annotated[
        Literal["relevance", "taken", "name"],
        Field(description="other orders than by relevance are of the first 1000 results"),
    ] = "relevance"
    turned: Annotated[bool, Field(description="find mirrored and turned copies, too")] = False

    def question(self) -> Question:
        """Return the question that is asked. Raises `BadInput` for a faulty filter or part."""
        options = SearchOptions(
            offset=self.offset,
            where=self.where or None,
            crop=self.crop or None,
            min_score=self.min_score,
            likelihood=True,
            likely=self.likely,
            group=self.group,
            views=["all"] if self.turned else [],
            tags=True,
            include_self=True,
        )
        if options.crop is not None and len(self.like) + len(self.unlike) != 1:
            raise Problem(400, "a part can be searched for in one picture alone")
        if not self.like:
            raise Problem(400, "a search needs a picture", hint="give like, or the file image")
        like, unlike = (tuple(part.picture() for part in parts) for parts in (self.like, self.unlike))
        return Question(like, unlike, options)


class Found(BaseModel):
    """Results of a search."""

    matches: list[dict[str, Any]]
    next: Annotated[int | None, Field(description="offset of the next results; null if there are none")]


class Listed(BaseModel):
    """Images of the index."""

    images: list[dict[str, Any]]
    next: int | None


class Uploaded(BaseModel):
    """An uploaded picture."""

    upload: Annotated[str, Field(description="SHA-256 of its bytes, by which a search names it")]


def in_order(some: Iterable[One], sort: str) -> list[One]:
    """Return matches or images in another order: the latest first, those without a time last; or by name."""
    if sort == "taken":
        return sorted(some, key=lambda one: one.taken or "", reverse=True)
    return sorted(some, key=lambda one: one.path.name)


def as_dict(image: IndexedImage) -> dict[str, Any]:
    """Return an image as JSON can hold it, with its links."""
    return image.as_dict() | links(image)


def links(one: Match | IndexedImage) -> dict[str, str]:
    """Return the id as text, which a script reads without loss, and where the picture is."""
    return {"key": str(one.id), "thumbnail": f"{PREFIX}/images/{one.id}/thumbnail"}
