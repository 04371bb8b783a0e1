"""The facade: an index of images, as a person thinks of it."""

import hashlib
import itertools
import logging
import os
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrieval import images, metadata, pipeline, plugins
from retrieval import verify as verification
from retrieval.backbones import DEFAULT, RANDOM, Backbone, locate_weights
from retrieval.errors import BadInput, ModelMismatch, UnreadableImage
from retrieval.metadata import Place, Root
from retrieval.runtimes import Encoder
from retrieval.store import Change, Store, View
from retrieval.types import Coverage, Failure, Info, Match, Progress, Report, RootInfo, Vectors, displayed, image_id
from retrieval.update import Settings, Update

Query = str | bytes | os.PathLike[str] | Image.Image | NDArray[np.uint8] | int | Match
"""A path; the bytes of a picture file; a PIL image; an RGB array (height, width, 3) of uint8; the id of an indexed image, or
a match."""

OWN_ENCODER = "own"
"""What an index keeps in place of a backbone where its creator handed in an encoder."""

log = logging.getLogger("retrieval")


@dataclass
class _Asked:
    """A query on its way to a vector."""

    id: int | None = None
    """The content that it is, where that can be said."""
    vector: NDArray[np.float32] | None = None
    pixels: NDArray[np.uint8] | None = None


class Index:
    """An index on disk: made with `create`, opened with `open`, kept up to date with `add`, asked with `search`.

    Any number of threads and processes may search while one adds. A network is loaded when a picture that is not in the
    index has to be embedded, and not before.
    """

    def __init__(self, store: Store, encoder: Encoder | None = None, weights: str | None = None) -> None:
        """Use `Index.open` or `Index.create` instead."""
        self._store = store
        with store.connection() as connection:
            self._made_by = dict(metadata.encoder(connection, metadata.latest(connection).fingerprint))
        self._encoder: Encoder | None = None
        self._given_weights = weights
        self._weights: str | None = None
        self._loading = threading.Lock()
        if encoder is not None:
            self._encoder = self._checked(encoder, "the encoder that was given")

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str] = "index_data",
        *,
        backbone: str = DEFAULT,
        weights: str | os.PathLike[str] | None = None,
        input_size: int | None = None,
        alpha: float | None = None,
        minimalistic: bool | None = None,
        encoder: Encoder | None = None,
    ) -> Self:
        """Make an empty index in the folder `path`, for vectors of `backbone` with `weights`.

        `backbone` is a name of `retrieval backbones`, or the path of a `.keras` file that takes RGB 0-255 and gives a vector or
        a map of features. `weights` is a file, "random", or None for the places that `backbones.locate_weights` names.
        An `encoder` of one's own takes the place of all of them. Raises `IndexExists`, `UnknownBackbone`, `BadInput`,
        `WeightsNotFound`, `BadWeights`, `StorageError`.
        """
        where = ""
        if encoder is None:
            chosen = Backbone.choose(backbone, input_size=input_size, alpha=alpha, minimalistic=minimalistic)
            where = locate_weights(chosen, backbone if chosen.is_model else _text(weights))
            encoder = _load(chosen, where)
            description = encoder.backbone.as_json()
        else:
            description = f'{{"name": "{OWN_ENCODER}"}}'
        row = {
            "fingerprint": encoder.fingerprint,
            "backbone": description,
            "weights": os.fsencode(where),
            "dim": encoder.dim,
            "height": encoder.size[0],
            "width": encoder.size[1],
        }
        return cls(Store.create(Path(path), row), encoder)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str] = "index_data",
        *,
        backbone: str | None = None,
        weights: str | os.PathLike[str] | None = None,
        input_size: int | None = None,
        alpha: float | None = None,
        minimalistic: bool | None = None,
        encoder: Encoder | None = None,
    ) -> Self:
        """Open the index in the folder `path`; what is given besides must be what it was made with, else `ModelMismatch`.

        Raises `IndexNotFound`, `IndexTooNew`, `IndexDamaged`, `UnknownBackbone`, `BadInput`.
        """
        index = cls(Store(Path(path)), encoder, _text(weights))
        options = {"input_size": input_size, "alpha": alpha, "minimalistic": minimalistic}
        if backbone is not None or any(value is not None for value in options.values()):
            index._demand(backbone, options)
        return index

    def close(self) -> None:
        """Let go of the files. The index is whole with or without."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- the model ----------------------------------------------------------------------------------------------------------

    @property
    def backbone(self) -> Backbone | None:
        """The backbone and its options; None where the index was made with an encoder of its creator's own."""
        text = self._made_by["backbone"]
        return None if OWN_ENCODER in text else Backbone.from_json(text)

    def _demand(self, name: str | None, options: dict[str, Any]) -> None:
        """Refuse to go on with another model than the index's own."""
        made_by = self.backbone
        base = name if name is not None else made_by.name if made_by is not None else DEFAULT
        wanted = Backbone.choose(base, **options)
        if made_by is None or wanted.name != made_by.name:
            raise ModelMismatch(
                f"the index was made with {made_by or 'an own encoder'}, not with {wanted}", hint=_ANOTHER_INDEX
            )
        sizes = {"input_size": made_by.input_size} if options["input_size"] is None else {}
        rest = {key: getattr(made_by, key) for key in ("alpha", "minimalistic") if options[key] is None}
        wanted = Backbone(**{**{key: getattr(wanted, key) for key in Backbone.__slots__}, **sizes, **rest})
        if wanted.is_model:
            self._given_weights = name if name is not None else self._given_weights
        elif wanted != made_by:
            raise ModelMismatch(f"the index was made with {made_by}, not with {wanted}", hint=_ANOTHER_INDEX)

    def _checked(self, encoder: Encoder, name: str) -> Encoder:
        mine, other = self._made_by["fingerprint"], encoder.fingerprint
        if mine != other:
            raise ModelMismatch(
                f"the index was made with {self.backbone or 'an own encoder'} of fingerprint {mine[:12]}, {name} has {other[:12]}",
                hint=_ANOTHER_INDEX,
            )
        return encoder

    def _loaded(self) -> Encoder:
        """Return the encoder, loading it at the first call; `ModelMismatch` where its weights are not those of the index."""
        with self._loading:
            if self._encoder is None:
                backbone = self.backbone
                if backbone is None:
                    raise BadInput(
                        "this index was made with an own encoder", hint="hand it in: Index.open(..., encoder=...)"
                    )
                self._weights = locate_weights(backbone, self._given_weights, os.fsdecode(self._made_by["weights"]))
                self._encoder = self._checked(
                    _load(backbone, self._weights), f"{backbone} with the weights {self._weights}"
                )
            return self._encoder

    def _ready(self) -> None:
        """Look at weights that were given expressly before anything is done with the index."""
        if self._given_weights is not None:
            self._loaded()

    @property
    def _size(self) -> tuple[int, int]:
        return self._made_by["height"], self._made_by["width"]

    # -- changing it --------------------------------------------------------------------------------------------------------

    def add(
        self,
        folder: str | os.PathLike[str],
        *,
        exclude: Iterable[str] = (),
        prune: bool = False,
        retry_failed: bool = False,
        progress: Callable[[Progress], None] | None = None,
    ) -> Report:
        """Bring the index up to date with all pictures below `folder`, and say what that meant.

        Unchanged files are recognised by size and time and not opened; others by their SHA-256. A folder below one that is
        indexed already is updated alone. `exclude` has patterns in the syntax of .gitignore; `prune` forgets what vanished
        even if it is most of a root or the root itself; `retry_failed` reads unreadable files again though they have not
        changed. Work is committed every few seconds, on an interruption too. Raises `BadInput`, `IndexBusy`,
        `StorageError`, and what loading the network raises.
        """
        path = os.path.realpath(os.fsencode(folder))
        self._ready()
        with self._store.writing():
            root, place, below = self._root_for(path)
            settings = Settings(tuple(exclude), prune, retry_failed)
            update = Update(
                self._store, root, place, below, settings, size=self._size, encoder=self._loaded, progress=progress
            )
            report = update.run()
            if self._weights is not None and os.fsencode(self._weights) != self._made_by["weights"]:
                self._made_by["weights"] = os.fsencode(self._weights)
                self._store.edit(metadata.put_encoder, self._made_by)
        return report

    def remove(self, path: str | os.PathLike[str]) -> Report:
        """Forget the file, folder or root at `path`, which need not exist; the files themselves are left alone."""
        self._ready()
        with self._store.writing():
            with self._store.connection() as connection:
                where = self._locate(connection, os.fsencode(path))
                forget: list[int] = []
                if where is not None:
                    root, below = where
                    forget = metadata.file_ids_below(connection, root, below)
                    forget += metadata.file_ids_below(connection, root, below + b"/") if below else []
            if where is None or (not forget and where[1]):
                raise BadInput(
                    f"nothing at {displayed(path)} is in the index", hint="see the folders with: retrieval info"
                )
            self._store.commit(Change(forget=forget))
            if not where[1]:
                self._store.edit(metadata.delete_root, where[0])
        return Report(removed=len(forget))

    def compact(self) -> None:
        """Give back the space of removed pictures and of superseded states."""
        self._store.compact()

    def verify(self, *, repair: bool = False) -> verification.Verification:
        """Read every byte that counts and say what is not as it was written; with `repair`, put right what can be."""
        return verification.repair(self._store) if repair else verification.verify(self._store)

    # -- asking it ----------------------------------------------------------------------------------------------------------

    def search(
        self, query: Query, k: int = 10, *, offset: int = 0, min_score: float | None = None, include_self: bool = False
    ) -> list[Match]:
        """Return the pictures most similar to `query`, nearest first: `k` of them where there are that many.

        The first `offset` are left out, and those whose score is under `min_score`. Equal scores stand in ascending order of
        id. The query's own picture, told by its SHA-256 where it is a path, bytes or in the index, is no result unless
        `include_self`. Raises `BadInput`, `UnreadableImage`, and what loading the network raises.
        """
        return self.search_many([query], k, offset=offset, min_score=min_score, include_self=include_self)[0]

    def search_many(
        self,
        queries: Iterable[Query],
        k: int = 10,
        *,
        offset: int = 0,
        min_score: float | None = None,
        include_self: bool = False,
    ) -> list[list[Match]]:
        """Return what `search` returns for each query, in their order, from one state of the index, embedding in batches."""
        if k < 1 or offset < 0:
            raise BadInput(f"k must be at least 1 and offset at least 0, not {k} and {offset}")
        self._ready()
        source, results = iter(queries), []
        with self._store.reading() as view:
            while some := list(itertools.islice(source, pipeline.BATCH)):
                asked = [self._understood(view, query) for query in some]
                found = self._nearest(view, self._vectors(asked), asked, offset + k, include_self=include_self)
                results += self._matches(view, [row[offset:] for row in found], offset, min_score)
        return results

    def _understood(self, view: View, query: Query) -> _Asked:
        """Return the query with its stored vector where it is in the index, else with its pixels."""
        match query:
            case Match():
                return self._stored(view, query.id)
            case bool():
                raise BadInput("a truth value is no picture")
            case int():
                return self._stored(view, query)
            case bytes():
                return self._content(view, query)
            case np.ndarray():
                return _Asked(pixels=_fitted(query, self._size))
            case Image.Image():
                return _Asked(pixels=images.fit(query, self._size))
            case str() | os.PathLike():
                return self._file(view, os.fsencode(query))
        raise BadInput(f"a query is a path, bytes, a PIL image, an RGB array or an id, not {type(query).__name__}")

    def _file(self, view: View, path: bytes) -> _Asked:
        try:
            with open(path, "rb") as file:
                data = file.read()
        except OSError as error:
            where = self._locate(view.connection, path)
            id_ = metadata.image_at(view.connection, *where) if where is not None else None
            if id_ is None:
                raise UnreadableImage(f"{displayed(path)} cannot be read: {images.reason_of(error)}") from error
            return self._stored(view, id_)
        try:
            return self._content(view, data)
        except UnreadableImage as error:
            raise UnreadableImage(f"{displayed(path)} cannot be used: {error}") from error

    def _content(self, view: View, data: bytes) -> _Asked:
        sha256 = hashlib.sha256(data).digest()
        id_ = image_id(sha256)
        if metadata.sha256_of_id(view.connection, id_) == sha256:
            return self._stored(view, id_)
        return _Asked(id_, pixels=images.decode(data, self._size).pixels)

    @staticmethod
    def _stored(view: View, id_: int) -> _Asked:
        if metadata.sha256_of_id(view.connection, id_) is None:
            raise BadInput(f"no image of the index has the id {id_}")
        return _Asked(id_, view.vector(id_)[0])

    def _vectors(self, asked: Sequence[_Asked]) -> Vectors:
        fresh = [item for item in asked if item.vector is None]
        if fresh:
            pixels = np.stack([item.pixels for item in fresh if item.pixels is not None])
            for item, vector in zip(fresh, pipeline.vectors_of(self._loaded(), pixels), strict=True):
                if vector is None:
                    raise UnreadableImage(f"the query cannot be used: {pipeline.NO_VECTOR}")
                item.vector = vector
        return np.stack([item.vector for item in asked if item.vector is not None])

    @staticmethod
    def _nearest(
        view: View, vectors: Vectors, asked: Sequence[_Asked], k: int, *, include_self: bool
    ) -> list[list[tuple[int, float]]]:
        hits = view.search(vectors, k if include_self else k + 1)
        pairs = [
            [(int(i), float(s)) for i, s in zip(*row, strict=True) if i >= 0]
            for row in zip(hits.ids, hits.scores, strict=True)
        ]
        own = [None if include_self else item.id for item in asked]
        return [[pair for pair in row if pair[0] != id_][:k] for row, id_ in zip(pairs, own, strict=True)]

    def _matches(
        self, view: View, rows: list[list[tuple[int, float]]], offset: int, min_score: float | None
    ) -> list[list[Match]]:
        where = self._places(view, sorted({id_ for row in rows for id_, _ in row}))
        results = []
        for row in rows:
            pairs = [(id_, score) for id_, score in row if id_ in where and (min_score is None or score >= min_score)]
            results.append([_match(offset + i, score, *where[id_]) for i, (id_, score) in enumerate(pairs, start=1)])
        return results

    def _places(self, view: View, ids: Sequence[int]) -> dict[int, tuple[Place, list[Path]]]:
        roots = {root.id: self._place(root) for root in metadata.all_roots(view.connection)}
        grouped: dict[int, list[Place]] = defaultdict(list)
        for place in metadata.places(view.connection, ids):
            grouped[place.image].append(place)
        return {
            id_: (some[0], [Path(os.fsdecode(os.path.join(roots[place.root], place.path))) for place in some])
            for id_, some in grouped.items()
        }

    # -- facts --------------------------------------------------------------------------------------------------------------

    def coverage(self) -> Coverage:
        """Return how much of what was found can be answered with."""
        with self._store.connection() as connection:
            images_ = metadata.latest(connection).images
            return Coverage(images_, metadata.count_unreadable(connection), metadata.count_offline(connection))

    def info(self) -> Info:
        """Return the facts that `retrieval info` prints."""
        with self._store.connection() as connection:
            generation = metadata.latest(connection)
            roots = [
                RootInfo(Path(os.fsdecode(place)), metadata.count_below(connection, root.id), os.path.isdir(place))
                for root in metadata.all_roots(connection)
                for place in (self._place(root),)
            ]
            unreadable, offline = metadata.count_unreadable(connection), metadata.count_offline(connection)
        return Info(
            images=generation.images,
            vectors=generation.vectors,
            generation=generation.number,
            backbone=str(self.backbone or OWN_ENCODER),
            dim=self._made_by["dim"],
            roots=tuple(roots),
            offline=offline,
            failures=unreadable,
            bytes=self._store.bytes(),
        )

    def failures(self) -> Iterator[Failure]:
        """Yield the files that could not be read, in byte order of their paths, with the reasons."""
        with self._store.connection() as connection:
            roots = {root.id: self._place(root) for root in metadata.all_roots(connection)}
            for row in metadata.unreadable_files(connection):
                yield Failure(Path(os.fsdecode(os.path.join(roots[row.root], row.path))), row.reason or "")

    # -- roots --------------------------------------------------------------------------------------------------------------

    @property
    def _home(self) -> bytes:
        """The folder that holds the index."""
        return os.path.dirname(os.path.realpath(os.fsencode(self._store.folder)))

    def _place(self, root: Root) -> bytes:
        """Return where a root is now: at its place beside the index if there is one, so that both can move together."""
        if root.beside is not None:
            beside = os.path.normpath(os.path.join(self._home, root.beside))
            if os.path.isdir(beside):
                return beside
        return root.path

    def _locate(self, connection: Any, path: bytes) -> tuple[int, bytes] | None:  # noqa: ANN401 - a connection
        """Return the root that holds `path` and the path below it, "" for the root itself; None where none does."""
        folder, name = os.path.split(os.path.abspath(path))
        for real in (os.path.join(os.path.realpath(folder), name), os.path.realpath(path)):
            for root in metadata.all_roots(connection):
                below = _below(self._place(root), real)
                if below is not None:
                    return root.id, below
        return None

    def _root_for(self, path: bytes) -> tuple[int, bytes, bytes]:
        """Return (id, place, folder below it) of the root that `path` is or is in; make one, and let it absorb those below it."""
        with self._store.connection() as connection:
            roots = [(root, self._place(root)) for root in metadata.all_roots(connection)]
        for root, place in roots:
            below = _below(place, path)
            if below is not None:
                if place != root.path:
                    self._store.edit(metadata.put_root, place, self._beside(place), root.id)
                return root.id, place, below + b"/" if below else b""
        if not os.path.isdir(path):
            what = "is not a folder" if os.path.exists(path) else "does not exist"
            raise BadInput(f"{displayed(path)} {what}", hint="give a folder that holds pictures")
        made = int(self._store.edit(metadata.put_root, path, self._beside(path)))
        for root, place in roots:
            inner = _below(path, place)
            if inner and not any(images.hidden(part) for part in inner.split(b"/")):
                self._store.edit(metadata.absorb_root, root.id, made, inner + b"/")
        return made, path, b""

    def _beside(self, path: bytes) -> bytes | None:
        below = _below(self._home, path)
        return None if below is None else below or b"."


_ANOTHER_INDEX = "vectors of two models cannot be compared: use the index's own, or make another with --index DIR"


def _below(folder: bytes, path: bytes) -> bytes | None:
    """Return `path` relative to `folder`, "" for the folder itself, None where it is elsewhere."""
    if path == folder:
        return b""
    prefix = folder.rstrip(b"/") + b"/"
    return path[len(prefix) :] if path.startswith(prefix) else None


def _text(path: str | os.PathLike[str] | None) -> str | None:
    return None if path is None else os.fspath(path)


def _load(backbone: Backbone, weights: str) -> Any:  # noqa: ANN401 - KerasEncoder, which must not be imported here
    if weights == RANDOM:
        log.warning("the weights are random: good for trying out, useless for finding similar pictures")
    return plugins.load("runtime:keras")(backbone, weights)


def _fitted(array: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:  # noqa: PLR2004 - height, width, RGB
        raise BadInput(f"an RGB array is (height, width, 3) of uint8, not {array.shape} of {array.dtype}")
    return images.fit(Image.fromarray(array), size)


def _match(rank: int, score: float, place: Place, paths: list[Path]) -> Match:
    return Match(rank, score, paths[0], place.image, place.width, place.height, tuple(paths[1:]))
