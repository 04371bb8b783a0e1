"""The facade: an index of images, as a person thinks of it."""

import logging
import os
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

from retrieval.arguments import call, flag, integer, iterable, path_of, strings, text_path, word
from retrieval.errors import BadInput, IndexDamaged, RetrievalError
from retrieval.indexing.update import Settings, Update
from retrieval.networks import loading
from retrieval.networks.encoder import Encoder, demand_encoder
from retrieval.networks.execution import Execution
from retrieval.networks.loading import GRAPH, Model
from retrieval.networks.options import NetworkOptions, RequestedNetwork
from retrieval.networks.weights import choose
from retrieval.searching.options import SearchOptions
from retrieval.storage import artefacts, claims, facts
from retrieval.storage.artefacts import Artefact
from retrieval.storage.commit import Store
from retrieval.storage.settings import SEARCH
from retrieval.storage.view import Change, View
from retrieval.types import (
    Answers,
    Coverage,
    Failure,
    IndexedImage,
    Info,
    Match,
    Progress,
    Report,
    RootInfo,
    Tagged,
    Timing,
    Vectors,
)
from retrieval.vectors.options import structure_options

if TYPE_CHECKING:
    from retrieval.networks.compiled import Graph
    from retrieval.searching.answer import Neighbours
    from retrieval.searching.query import Query, Unusable
    from retrieval.storage.verify import Verification

log = logging.getLogger("retrieval")
DEFAULT_PATH = "index_data"
PLAIN = SearchOptions()


class Index:
    """An index on disk: made with `create`, opened with `open`, kept up to date with `add`, asked with `search`.

    Any number of threads and processes may search while one adds. A network is loaded when a picture that is not in the
    index has to be embedded, and not before.
    """

    def __init__(
        self,
        store: Store,
        execution: Execution,
        *,
        encoder: Encoder | None = None,
        loaded: Encoder | None = None,
        weights: str | None = None,
    ) -> None:
        """Use `Index.open` or `Index.create` instead."""
        self._store, self._execution = store, execution
        self._encoder, self._loaded, self._weights = encoder, loaded, weights

    def __reduce__(self) -> tuple[Any, ...]:
        """Be pickled by the place: whoever loads it opens the index there, with what was given to this one."""
        given = {"encoder": self._encoder, "weights": self._weights}
        try:
            pickle.dumps(given)
        except Exception as error:  # what an encoder's own `__reduce__` raises
            sentence = "an index can be pickled with an encoder of one's own only if that can be"
            raise BadInput(sentence, hint="open it where it is needed: Index.open(..., encoder=...)") from error
        return _opened, (type(self), self._store.folder, self._execution, given)

    @cached_property
    def _model(self) -> Model:
        """What made the vectors; read when it is needed, so that an index which does not say it can be repaired."""
        with self._store.rows() as rows:
            row = rows.encoder()
        return Model(
            row,
            partial(_stored_graph, self._store),
            execution=self._execution,
            encoder=self._encoder,
            loaded=self._loaded,
            weights=self._weights,
        )

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str] = DEFAULT_PATH,
        *,
        encoder: Encoder | None = None,
        faiss: str | None = None,
        recall: float | None = None,
        float16: bool = False,
        **network: Unpack[NetworkOptions],
    ) -> Self:
        """Make an empty index in the folder `path`, for vectors of a network.

        `network` takes the options of `NetworkOptions`: `backbone` is a name of `retrieval backbones`, or the path of a
        `.keras` file that takes RGB 0-255 and gives a vector or a map of features. "auto", the default, is the best
        backbone whose weights are on this machine, else mini, and nothing is downloaded for it; where `weights` are
        given, it is mobilenet_v2. An `encoder` of one's own takes the place of all of them. `float16` keeps vectors in
        half the bytes; `faiss` and `recall` are those of `configure`. Raises `IndexExists`, `UnknownBackbone`,
        `BadInput`, `WeightsNotFound`, `BadWeights`, and as `add` does.
        """
        requested = RequestedNetwork.of(network)
        folder = Path(text_path(path, "the path of the index"))
        Store.refuse_existing(folder)
        settings = {"float16": flag(float16, "float16") or None, SEARCH: structure_options(faiss, recall) or None}
        if encoder is not None:
            demand_encoder(encoder)
            made = Store.create(folder, loading.described(encoder, None, ""), settings)
            return cls(made, requested.execution, encoder=encoder)
        backbone, weights = choose(requested.backbone, requested.weights, **requested.options)
        loaded = loading.load(backbone, weights, requested.execution)
        made = Store.create(folder, loading.described(loaded, loaded.backbone, weights), settings)
        return cls(made, requested.execution, loaded=loaded)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str] = DEFAULT_PATH,
        *,
        encoder: Encoder | None = None,
        **network: Unpack[NetworkOptions],
    ) -> Self:
        """Open the index in the folder `path`. That changes nothing, but for an index of an older format.

        What is given of `network` (see `NetworkOptions`) must be what made the index, else `ModelMismatch`. Weights
        that are given are checked before the first use. Raises `IndexNotFound`, `IndexTooNew`, `IndexDamaged`,
        `UnknownBackbone`, `BadInput`.
        """
        requested = RequestedNetwork.of(network)
        if encoder is not None:
            demand_encoder(encoder)
        store = Store(Path(text_path(path, "the path of the index")))
        index = cls(store, requested.execution, encoder=encoder, weights=requested.weights)
        try:
            with suppress(IndexDamaged):  # raised again by whatever needs the model; `verify` does not
                index._model.demand(requested.backbone, requested.options)
        except BaseException:
            index.close()
            raise
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

    def __repr__(self) -> str:
        """Name the folder, and what is in it as far as that can be read."""
        try:
            with self._store.rows() as rows:
                held = f", {rows.generation.images} images, {self._model}"
        except RetrievalError:
            held = ""
        return f"<Index {self._store.folder}{held}>"

    # -- changing it ----------------------------------------------------------------------------------------------

    def add(
        self,
        folder: str | os.PathLike[str],
        *,
        exclude: Iterable[str] = (),
        no_exclude: Iterable[str] = (),
        prune: bool = False,
        retry_failed: bool = False,
        rehash: bool = False,
        progress: Callable[[Progress], None] | None = None,
    ) -> Report:
        """Bring the index up to date with all pictures below `folder`, and say what that meant.

        Unchanged files are recognised by size and times and not opened; others by their SHA-256. A folder below one
        that is indexed already is updated alone. `exclude` has patterns in the syntax of .gitignore, from `folder`
        downwards: pictures that they name are forgotten and stay so at later runs, until `no_exclude` takes the pattern
        back. `prune` forgets what vanished even if it is most of a root or the root itself; `retry_failed` reads
        unreadable files again though they have not changed, `rehash` reads every file again. Work is committed every
        few seconds, and on an interruption too. Raises `BadInput`, `IndexBusy`, `StorageError`, and what loading the
        network raises.
        """
        place = path_of(folder, "the folder")
        more, less = strings(exclude, "exclude"), strings(no_exclude, "no_exclude")
        settings = Settings(flag(prune, "prune"), flag(retry_failed, "retry_failed"), flag(rehash, "rehash"))
        call(progress, "progress")
        self._model.ready()
        with self._store.writing():
            spot = claims.claim(self._store, place, more, less)
            try:
                report = Update(
                    self._store,
                    spot,
                    settings,
                    size=self._model.size,
                    rule=self._model.rule,
                    encoder=partial(self._model.encoder, many=True),
                    threads=self._execution.workers,
                    progress=progress,
                ).run()
            except BaseException:
                with suppress(RetrievalError):  # what went wrong first is what is told
                    _remember(self._store, self._model)
                raise
            _remember(self._store, self._model)
            self._store.settle()
            if prune and not spot.below and not os.path.isdir(spot.place):
                self._store.delete_root(spot.root)
            self._tag_new()
        return report

    def remove(self, path: str | os.PathLike[str]) -> Report:
        """Forget the file, folder or root at `path`, which need not exist; the files themselves are left alone.

        A later `add` of its folder finds it again, unless it is excluded. Raises `BadInput` where the index knows
        nothing there, `IndexBusy`, `StorageError`.
        """
        place = path_of(path)
        with self._store.writing():
            with self._store.rows() as rows:
                spot, forget = rows.files_at(place)
            self._store.commit(Change(forget=[*forget]))
            self._store.settle()  # most may be gone, and with them the structure that they were in
            if not spot.below:
                self._store.delete_root(spot.root)
            self._tag_new()
        return Report(removed=sum(image is not None for image in forget.values()))

    def _tag_new(self) -> None:
        from retrieval.searching import tags

        tags.catch_up(self._store, self._model.row)

    def configure(self, *, faiss: str | None = None, recall: float | None = None, float16: bool = False) -> None:
        """Choose the search structures that are built from now on; the choice is kept in the index.

        `faiss` is a factory string of FAISS, "auto" for one that is chosen by measuring, or "flat" for none. `recall`
        is the share of the ten nearest images that a structure has to find, over 0 and at most 1. None leaves each as
        it is. `float16` is refused where the index was made without. Raises `BadInput`, `IndexBusy`, `StorageError`.
        """
        if flag(float16, "float16") and not self._store.float16:
            raise BadInput("the index keeps vectors of float32", hint="make a new index with: --float16")
        self._store.choose(**structure_options(faiss, recall))

    def compact(self) -> None:
        """Give back the space of removed pictures and of superseded states. Raises `IndexBusy`, `StorageError`."""
        self._store.compact()

    def verify(self, *, repair: bool = False, forget_lost: bool = False) -> "Verification":
        """Check every checksum of the index and report what is damaged; with `repair`, repair what can be repaired.

        Images and files that cannot be repaired are reported as `unsaved`. They are forgotten with `forget_lost` only.
        """
        from retrieval.storage.repair import verified

        return verified(
            self._store,
            repairs=flag(repair, "repair") or flag(forget_lost, "forget_lost"),
            forget_lost=forget_lost,
        )

    def tune(self, ranking: str, **measured: Any) -> None:  # noqa: ANN401 - what JSON holds
        """Make `ranking`, "none" or "expansion", what searches use from now on, and keep what was `measured` for it.

        Raises `BadInput` for an empty index, `IndexBusy`, `StorageError`.
        """
        from retrieval.searching import statistics

        with self._store.writing():
            statistics.keep(self._store, word(ranking, "ranking"), measured)

    # -- asking it ------------------------------------------------------------------------------------------------

    def search(
        self, query: "Query", k: int = 10, options: SearchOptions = PLAIN, *, timing: Timing | None = None
    ) -> list[Match]:
        """Return the pictures most similar to `query`, nearest first: `k` of them where there are that many.

        Equal scores stand in ascending order of id. `options` say what is left out, how matches are ranked, and what
        is told of them. `timing` is told the seconds spent on `read` (and decode), `load` (the network), `encode`,
        `search` and `look up` (paths). Raises `BadInput`, `UnreadableImage`, and what loading the network raises.
        """
        (found,) = self.search_many([query], k, options, timing=timing)
        if isinstance(found, RetrievalError):
            raise found
        return found

    def search_many(
        self,
        queries: "Iterable[Query]",
        k: int = 10,
        options: SearchOptions = PLAIN,
        *,
        timing: Timing | None = None,
    ) -> "list[list[Match] | Unusable]":
        """Return what `search` returns for each query, in order, from one state of the index, embedding in batches.

        In place of the answer to a query that cannot be used stands its `UnreadableImage` or `BadInput`.
        """
        with self._store.reading() as view:
            return self._results(view, queries, k, options, timing)

    def answers(
        self,
        queries: "Iterable[Query]",
        k: int = 10,
        options: SearchOptions = PLAIN,
        *,
        timing: Timing | None = None,
    ) -> Answers:
        """Return what `search_many` returns, and how much it could draw on: both from one state of the index."""
        several = list(iterable(queries, "queries", "queries"))
        with self._store.reading() as view:
            results = self._results(view, several, k, options, timing)
            coverage = view.rows.coverage()
            if not options.exact or view.is_exact:
                return Answers(results, coverage)
            plain = SearchOptions(offset=options.offset, min_score=options.min_score, include_self=options.include_self)
            exactly = self._results(view, several, k, replace(plain, exact=True), None)
            return Answers(results, coverage, _overlap(exactly, self._results(view, several, k, plain, None)))

    def _results(
        self, view: View, queries: "Iterable[Query]", k: int, options: SearchOptions, timing: Timing | None
    ) -> "list[list[Match] | Unusable]":
        from retrieval.searching import (
            answer,
            tags,
        )  # with numpy and Pillow, which an update without news can do without

        if not isinstance(options, SearchOptions):
            raise BadInput("the options of a search must be SearchOptions(...)")
        if timing is not None and not isinstance(timing, Timing):
            raise BadInput("timing must be a Timing of retrieval.types")
        k, several = integer(k, "k", 1), iterable(queries, "queries", "queries")
        self._model.ready()
        tagged = partial(tags.search, self._store)
        results = answer.results(view, self._model, tagged, several, k, options, Timing() if timing is None else timing)
        if not options.tags:
            return results
        return [found if isinstance(found, RetrievalError) else tags.told(self._store, found) for found in results]

    def tagged(self, words: str, k: int = 10, *, offset: int = 0) -> list[Match]:
        """Return the pictures tagged with a class that has all the `words` in its name, best first, with their tags.

        It is `search` for `Tagged(words)`. `score` is that of the tag. A word may have another ending. Raises
        `BadInput` where there is no such class, or no tag at all: tags come from weights that have their classifier on
        top (see `tags`).
        """
        return self.search(Tagged(words), k, SearchOptions(offset=offset, tags=True))

    def neighbours(
        self, queries: "Iterable[Query]", k: int = 10, options: SearchOptions = PLAIN
    ) -> "Iterator[Neighbours]":
        """Yield for each query what `search` finds, as ids and scores, the best first: for `k` in the thousands.

        A copy of the query is no neighbour. Queries are asked some at a time, each time of one state of the index.
        Raises what `search` raises.
        """
        from retrieval.networks.embedding import BATCH
        from retrieval.searching import answer

        k, source = integer(k, "k", 1), iterable(queries, "queries", "queries")
        self._model.ready()
        while some := list(islice(source, BATCH)):
            with self._store.reading() as view:
                found = list(answer.nearest(view, self._model, some, k, options))
            yield from found

    def matches(self, near: "Neighbours") -> list[Match]:
        """Return what `neighbours` found with the places of the pictures, the best first."""
        from retrieval.searching import answer, query

        with self._store.reading() as view:
            return answer.matches(view, [(query.Asked(), near)], 0)[0]

    def embed(self, pictures: "Iterable[Query]") -> Vectors:
        """Return the vectors of pictures, (n, dim) float32, each of length 1, in the order of `pictures`.

        A picture is anything that `search` takes; of one that the index has, that is its stored vector. Raises
        `UnreadableImage` or `BadInput` for the first picture that has no vector, and what loading the network raises.
        """
        from retrieval.searching import answer

        several = iterable(pictures, "pictures", "pictures")
        self._model.ready()
        with self._store.reading() as view:
            return answer.embedded_vectors(view, self._model, several)

    def vectors(self, ids: Iterable[int]) -> Vectors:
        """Return the stored vectors of images, (n, dim) float32; `BadInput` for an unknown id."""
        import numpy as np

        with self._store.reading() as view:
            wanted = [integer(id_, "an id", 0) for id_ in iterable(ids, "ids", "ids")]
            for id_ in wanted:
                if view.rows.sha256_of(id_) is None:
                    raise BadInput(f"no image of the index has the id {id_}")
            if not wanted:
                return np.zeros((0, self._model.row["dim"]), dtype=np.float32)
            return view.vectors(np.array(wanted, dtype=np.int64))

    # -- facts ----------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        """Return the number of images."""
        with self._store.rows() as rows:
            return rows.generation.images

    def __bool__(self) -> bool:
        """Be true, also for an empty index: whether there is one is what `if index` asks."""
        return True

    def __contains__(self, path: object) -> bool:
        """Tell whether the index has the picture at `path`, as `id_of` does."""
        return isinstance(path, str | os.PathLike) and self.id_of(path) is not None

    def coverage(self) -> Coverage:
        """Return how much of what was found an answer can draw on."""
        with self._store.rows() as rows:
            return rows.coverage()

    def info(self) -> Info:
        """Return the facts that `retrieval info` prints."""
        graph = artefacts.facts_of(self._store, GRAPH) or {}
        return facts.info(self._store, str(self._model), graph.get("parity"))

    def folders(self) -> tuple[RootInfo, ...]:
        """Return the folders that were indexed."""
        with self._store.rows() as rows:
            return rows.root_infos()

    def images(self, folder: str | os.PathLike[str] | None = None) -> Iterator[IndexedImage]:
        """Yield every place of an image, in byte order; of those below `folder` if given.

        An image with copies is yielded once for each of its places. Places are read some thousands at a time. Raises
        `BadInput` where the index knows nothing below `folder`.
        """
        return facts.images(self._store, None if folder is None else path_of(folder, "the folder"))

    def id_of(self, path: str | os.PathLike[str]) -> int | None:
        """Return the id of the picture at `path`, by its bytes or, where they cannot be read, by its place.

        None where the index does not have it.
        """
        from retrieval.searching import query

        with self._store.rows() as rows:
            return query.known(rows, path_of(path))

    def failures(self) -> Iterator[Failure]:
        """Yield the files and folders that could not be looked at, read or decoded, in byte order of their paths."""
        return facts.failures(self._store)


def _opened(kind: type[Index], folder: Path, execution: Execution, given: dict[str, Any]) -> Index:
    return kind(Store(folder), execution, **given)


def _stored_graph(store: Store) -> "Graph | None":
    """Return the index's own copy of its compiled network; None where it has none that is whole."""
    from retrieval.networks.compiled import Graph

    kept = artefacts.read(store, GRAPH)
    return None if kept is None else Graph.checked(kept.files, kept.facts)


def _remember(store: Store, model: Model) -> None:
    """Keep what is new about the network of an index: where its weights are, how it was compiled; within `writing`."""
    with store.rows() as rows:
        known = rows.encoder()
    if model.row["weights"] != known["weights"]:
        store.put_encoder(model.row)
    graph = model.graph
    if graph is None:
        return
    from retrieval.networks.compiled import SUFFIXES

    kept = artefacts.read(store, GRAPH)
    if kept is None or kept.facts != graph.facts:
        artefacts.put(store, GRAPH, Artefact(graph.facts, graph.files), SUFFIXES)


def _overlap(
    exactly: "Sequence[list[Match] | Unusable]", plainly: "Sequence[list[Match] | Unusable]"
) -> tuple[int, int]:
    """Return how many of the matches that an exact search found the plain search found too, and how many there are."""
    found = total = 0
    for exact, plain in zip(exactly, plainly, strict=True):
        if not isinstance(exact, RetrievalError) and not isinstance(plain, RetrievalError):
            found += len({match.id for match in exact} & {match.id for match in plain})
            total += len(exact)
    return found, total
