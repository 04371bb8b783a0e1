"""The facade: an index of images, as a person thinks of it."""

import itertools
import logging
import os
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

from retrieval.arguments import MOST, call, flag, integer, iterable, path_of, strings, text_path, word
from retrieval.errors import BadInput, IndexDamaged, RetrievalError
from retrieval.indexing.update import Settings, Update
from retrieval.networks import catalogue, loading
from retrieval.networks.encoder import AUTO, Encoder, Execution, demand_encoder
from retrieval.networks.loading import Model
from retrieval.networks.weights import choose
from retrieval.searching import tags
from retrieval.storage import facts, root_rows, roots, tables
from retrieval.storage.commit import SEARCH, Store
from retrieval.storage.view import Change
from retrieval.types import Answers, Coverage, Failure, Info, Match, Progress, Report, RootInfo, Timing
from retrieval.vectors import Form

if TYPE_CHECKING:
    from retrieval.searching.answer import Neighbours, SearchOptions
    from retrieval.searching.query import Query, Unusable
    from retrieval.storage.verify import Verification

log = logging.getLogger("retrieval")


class Index:
    """An index on disk: made with `create`, opened with `open`, kept up to date with `add`, asked with `search`.

    Any number of threads and processes may search while one adds. A network is loaded when a picture that is not in the
    index has to be embedded, and not before.
    """

    def __init__(self, store: Store, execution: Execution, **given: Any) -> None:  # noqa: ANN401 - as `Model` takes it
        """Use `Index.open` or `Index.create` instead."""
        self._store, self._execution = store, execution
        self._given = given

    def __reduce__(self) -> tuple[Any, ...]:
        """Be pickled by the place: whoever loads it opens the index there, with what was given to this one."""
        given = {name: self._given.get(name) for name in ("encoder", "weights")}
        try:
            pickle.dumps(given)
        except Exception as error:  # what an encoder's own `__reduce__` raises
            sentence = "an index can be pickled with an encoder of one's own only if that can be"
            raise BadInput(sentence, hint="open it where it is needed: Index.open(..., encoder=...)") from error
        return _opened, (type(self), self._store.folder, self._execution, given)

    @cached_property
    def _model(self) -> Model:
        """What made the vectors; read when it is needed, so that an index which does not say it can be repaired."""
        with self._store.connection() as connection:
            row = tables.encoder(connection, tables.latest(connection).fingerprint)
        return Model(row, partial(loading.stored_graph, self._store), execution=self._execution, **self._given)

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str] = "index_data",
        *,
        backbone: str = catalogue.AUTO,
        weights: str | os.PathLike[str] | None = None,
        input_size: int | None = None,
        alpha: float | None = None,
        minimalistic: bool | None = None,
        pooling: str | None = None,
        encoder: Encoder | None = None,
        runtime: str = AUTO,
        precision: str = AUTO,
        threads: int = 0,
        faiss: str | None = None,
        recall: float | None = None,
        float16: bool = False,
    ) -> Self:
        """Make an empty index in the folder `path`, for vectors of `backbone` with `weights`.

        `backbone` is a name of `retrieval backbones`, or the path of a `.keras` file that takes RGB 0-255 and gives a
        vector or a map of features; "auto" is the best whose weights are on this machine, else mini, and nothing is
        downloaded for it; where `weights` are given, it is mobilenet_v2. `weights` is a file, "random", or None for the
        places that `weights.locate_weights` names. `input_size` is in pixels; `alpha` and `minimalistic` belong to
        MobileNets; `pooling` is "avg", "max" or "gem" (see `Backbone.pooled`). An `encoder` of one's own takes the
        place of all of them. `float16` keeps vectors in half the bytes; `faiss` and `recall` are those of `open`.
        Raises `IndexExists`, `UnknownBackbone`, `BadInput`, `WeightsNotFound`, `BadWeights`, and as `add` does.
        """
        execution = Execution.of(runtime, precision, threads)
        folder = Path(text_path(path, "the path of the index"))
        Store.refuse_existing(folder)
        settings = {"float16": flag(float16, "float16") or None, SEARCH: Form.given(faiss, recall) or None}
        if encoder is not None:
            demand_encoder(encoder)
            made = Store.create(folder, loading.described(encoder, None, ""), settings)
            return cls(made, execution, encoder=encoder)
        options: dict[str, Any] = {"alpha": alpha, "minimalistic": minimalistic, "pooling": pooling}
        chosen, where = choose(backbone, _text(weights), input_size=input_size, **options)
        loaded = loading.load(chosen, where, execution)
        made = Store.create(folder, loading.described(loaded, loaded.backbone, where), settings)
        return cls(made, execution, loaded=loaded)

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
        pooling: str | None = None,
        encoder: Encoder | None = None,
        runtime: str = AUTO,
        precision: str = AUTO,
        threads: int = 0,
        faiss: str | None = None,
        recall: float | None = None,
        float16: bool = False,
    ) -> Self:
        """Open the index in the folder `path`; what is given besides must be what made it, else `ModelMismatch`.

        Weights that are given are looked at before the first use. `faiss` is the form of the search structures that are
        built from now on: a factory string of FAISS, `auto` for one that is chosen by measuring, or `flat` for none;
        `recall` is the share of the ten nearest that they have to find. Both are kept in the index. `float16` is
        refused where the index was made without. Raises `IndexNotFound`, `IndexTooNew`, `IndexDamaged`,
        `UnknownBackbone`, `BadInput`.
        """
        execution = Execution.of(runtime, precision, threads)
        if encoder is not None:
            demand_encoder(encoder)
        given = Form.given(faiss, recall)
        index = cls(
            Store(Path(text_path(path, "the path of the index"))), execution, encoder=encoder, weights=_text(weights)
        )
        try:
            with suppress(IndexDamaged):  # raised again by whatever needs the model; `verify` does not
                network = {"input_size": input_size, "alpha": alpha, "minimalistic": minimalistic, "pooling": pooling}
                index._model.demand(backbone, network)
            index._demand(float16=flag(float16, "float16"))
            index._store.choose(**given)
        except BaseException:
            index.close()
            raise
        return index

    def _demand(self, *, float16: bool) -> None:
        if float16 and not self._store.float16:
            raise BadInput("the index keeps vectors of float32", hint="make a new index with: --float16")

    def close(self) -> None:
        """Let go of the files. The index is whole with or without."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

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
            spot = roots.claim(self._store, place, more, less)
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
                    loading.remember(self._store, self._model)
                raise
            loading.remember(self._store, self._model)
            self._store.settle()
            if prune and not spot.below and not os.path.isdir(spot.place):
                self._store.edit(root_rows.delete_root, spot.root)
            tags.catch_up(self._store, self._model.row)
        return report

    def remove(self, path: str | os.PathLike[str]) -> Report:
        """Forget the file, folder or root at `path`, which need not exist; the files themselves are left alone.

        A later `add` of its folder finds it again, unless it is excluded. Raises `BadInput` where the index knows
        nothing there, `IndexBusy`, `StorageError`.
        """
        place = path_of(path)
        with self._store.writing():
            spot, forget = roots.known_at(self._store, place)
            self._store.commit(Change(forget=[*forget]))
            self._store.settle()  # most may be gone, and with them the structure that they were in
            if not spot.below:
                self._store.edit(root_rows.delete_root, spot.root)
            tags.catch_up(self._store, self._model.row)
        return Report(removed=sum(image is not None for image in forget.values()))

    def compact(self) -> None:
        """Give back the space of removed pictures and of superseded states. Raises `IndexBusy`, `StorageError`."""
        self._store.compact()

    def verify(self, *, repair: bool = False, forget_lost: bool = False) -> "Verification":
        """Read every byte that counts and say what is not as it was written; with `repair`, put right what can be.

        What a repair would have to forget is said, as `unsaved`, and forgotten with `forget_lost` only.
        """
        from retrieval.storage.repair import verified

        return verified(
            self._store,
            repairs=flag(repair, "repair") or flag(forget_lost, "forget_lost"),
            forget_lost=forget_lost,
        )

    # -- asking it ------------------------------------------------------------------------------------------------

    def search(
        self,
        query: "Query",
        k: int = 10,
        *,
        offset: int = 0,
        min_score: float | None = None,
        include_self: bool = False,
        exact: bool = False,
        ranking: str = catalogue.AUTO,
        judge: bool = False,
        auto: bool = False,
        views: Sequence[str] = (),
        timing: Timing | None = None,
    ) -> list[Match]:
        """Return the pictures most similar to `query`, nearest first: `k` of them where there are that many.

        The first `offset` are left out, and those whose score is under `min_score`. Equal scores stand in ascending
        order of id. Unless `include_self`, the file at a path is no result (its copies are, with score 1), nor is
        the image of an id or a match. Where `info` names a search structure, that finds nearly all of them, to the
        recall it tells; `exact` looks at every vector. `ranking` is "none", "expansion" (then the rank follows
        `relevance`, `score` stays the cosine), or "auto" for what `tune` has set, none before that. With `judge`, a
        match that is likely related is told its `probability`, 0.5 to 1, and the others None, as it cannot be told (see
        `cutoff`); with `auto` too, and only likely matches are returned, none where nothing can be told. With `views`
        ("mirror", "multiscale"), the vector of a picture whose bytes are at hand is the mean of its own and of theirs.
        `timing` is told the seconds spent on `read` (and decode), `load` (the network), `encode`, `search` and
        `look up` (paths). Raises `BadInput`, `UnreadableImage`, and what loading the network raises.
        """
        how: SearchOptions = {"offset": offset, "min_score": min_score, "include_self": include_self, "exact": exact}
        how |= {"ranking": ranking, "judge": judge, "auto": auto, "views": views}
        (found,) = self.search_many([query], k, timing=timing, **how)
        if isinstance(found, RetrievalError):
            raise found
        return found

    def search_many(
        self,
        queries: "Iterable[Query]",
        k: int = 10,
        *,
        timing: Timing | None = None,
        **options: "Unpack[SearchOptions]",
    ) -> "list[list[Match] | Unusable]":
        """Return what `search` returns for each query, in order, from one state of the index, embedding in batches.

        It takes the same options. In place of the answer to a query that cannot be used stands its `UnreadableImage` or
        `BadInput`.
        """
        from retrieval.searching import answer  # which needs numpy and Pillow, as an update without news does not

        self._model.ready()
        with self._store.reading() as view:
            return answer.results(self._store, view, self._model, queries, k, timing, options)

    def answers(
        self,
        queries: "Iterable[Query]",
        k: int = 10,
        *,
        timing: Timing | None = None,
        **options: "Unpack[SearchOptions]",
    ) -> Answers:
        """Return what `search_many` returns, and how much it could draw on: both from one state of the index."""
        from retrieval.searching import answer

        self._model.ready()
        with self._store.reading() as view:
            results = answer.results(self._store, view, self._model, queries, k, timing, options)
            return Answers(results, facts.coverage(self._store, view.connection))

    def tagged(self, words: str, k: int = 10, *, offset: int = 0) -> list[Match]:
        """Return the pictures tagged with a class that has all the `words` in its name, best first, with their tags.

        `score` is that of the tag. A word may have another ending. Raises `BadInput` where there is no such class, or
        no tag at all: tags come from weights that have their classifier on top (see `tags`).
        """
        from retrieval.searching import answer
        from retrieval.searching import query as asked

        words, k, offset = word(words, "words"), integer(k, "k", 1), integer(offset, "offset", 0)
        with self._store.reading() as view:
            found = tags.search(self._store, words)
            there = (pair for pair in found if tables.sha256_of_id(view.connection, pair[0]) is not None)
            near = answer.Neighbours.of(list(itertools.islice(there, min(offset + k, MOST))))
            return self.with_tags(answer.matches(self._store, view, [(asked.Asked(), near)], offset)[0])

    def with_tags(self, matches: Sequence[Match]) -> list[Match]:
        """Return `matches` with their `tags`, where the index has some."""
        told = tags.of(self._store, [match.id for match in matches])
        return [replace(match, tags=told.get(match.id, ())) for match in matches]

    def neighbours(
        self, queries: "Iterable[Query]", k: int = 10, *, exact: bool = False, ranking: str = catalogue.AUTO
    ) -> "Iterator[Neighbours]":
        """Yield for each query what `search` finds, as ids and scores, the best first: for `k` in the thousands.

        A copy of the query is no neighbour. All are asked of one state of the index. Raises what `search` raises.
        """
        from retrieval.searching import answer

        options, k = answer.Options(exact=exact, ranking=ranking), integer(k, "k", 1)
        several = iterable(queries, "queries", "queries")
        self._model.ready()
        with self._store.reading() as view:
            yield from answer.nearest(self._store, view, self._model, several, k, options)

    def matches(self, near: "Neighbours") -> list[Match]:
        """Return what `neighbours` found with the places of the pictures, the best first."""
        from retrieval.searching import answer
        from retrieval.searching import query as asked

        with self._store.reading() as view:
            return answer.matches(self._store, view, [(asked.Asked(), near)], 0)[0]

    def tune(self, ranking: str, **measured: Any) -> None:  # noqa: ANN401 - what JSON holds
        """Make `ranking`, "none" or "expansion", what searches use from now on, and keep what was `measured` for it.

        Raises `BadInput` for an empty index, `IndexBusy`, `StorageError`.
        """
        from retrieval.searching import statistics

        with self._store.writing():
            statistics.keep(self._store, word(ranking, "ranking"), measured)

    # -- facts ----------------------------------------------------------------------------------------------------

    def coverage(self) -> Coverage:
        """Return how much of what was found an answer can draw on."""
        with self._store.connection() as connection:
            return facts.coverage(self._store, connection)

    def info(self) -> Info:
        """Return the facts that `retrieval info` prints."""
        return facts.info(self._store, self._model)

    def folders(self) -> tuple[RootInfo, ...]:
        """Return the folders that were indexed."""
        return roots.folders_of(self._store)

    def images(self, folder: str | os.PathLike[str] | None = None) -> Iterator[tuple[int, Path]]:
        """Yield the id and the path of every place of a picture, in byte order; of those below `folder` if given.

        Of copies, which are one picture, each place. Raises `BadInput` where the index knows nothing there.
        """
        return facts.images(self._store, None if folder is None else path_of(folder, "the folder"))

    def id_of(self, path: str | os.PathLike[str]) -> int | None:
        """Return the id of the picture at `path`, by its bytes or, where they cannot be read, by its place.

        None where the index does not have it.
        """
        from retrieval.searching import query as asked

        with self._store.reading() as view:
            return asked.known(self._store, view, path_of(path))

    def failures(self) -> Iterator[Failure]:
        """Yield the files and folders that could not be looked at, read or decoded, in byte order of their paths."""
        return facts.failures(self._store)


def _opened(kind: type[Index], folder: Path, execution: Execution, given: dict[str, Any]) -> Index:
    return kind(Store(folder), execution, **given)


def _text(path: str | os.PathLike[str] | None) -> str | None:
    return None if path is None else text_path(path, "the path of the weights")
