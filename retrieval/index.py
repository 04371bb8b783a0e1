"""The front door: an index of images, and everything that can be done with it.

The methods of `Index` have no logic of their own; they call the folders of the package that do the work. A method that
changes the index calls `indexing`, a method that asks it calls `searching`; both give these folders the `storage` and
the `networks` of the index. Modules that need numpy or Pillow are imported by the methods that use them, so that an
update that finds nothing new does not wait for them.
"""

import os
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

from retrieval.arguments import call, flag, integer, iterable, path_of, several, strings, text_path, word
from retrieval.errors import BadInput, IndexDamaged, RetrievalError
from retrieval.networks import loading
from retrieval.networks.encoder import Encoder, demand_encoder
from retrieval.networks.execution import Execution
from retrieval.networks.loading import GRAPH, Model
from retrieval.networks.options import NetworkOptions, RequestedNetwork
from retrieval.networks.weights import choose
from retrieval.searching.options import PLAIN, SearchOptions
from retrieval.storage import artefacts, facts
from retrieval.storage.artefacts import Artefact
from retrieval.storage.commit import Store
from retrieval.storage.settings import FLOAT16, SEARCH
from retrieval.storage.view import Change
from retrieval.types import (
    Answers,
    Coverage,
    Failure,
    FileEvent,
    IndexedImage,
    Info,
    Measured,
    Progress,
    Report,
    RootInfo,
    Tag,
    Tagged,
    Timing,
    Vectors,
)
from retrieval.vectors.options import structure_options

if TYPE_CHECKING:
    from retrieval.indexing.update import Settings
    from retrieval.networks.graph import Graph
    from retrieval.searching.answer import Searcher
    from retrieval.searching.filters import Filter
    from retrieval.searching.matches import Matches
    from retrieval.searching.neighbours import Neighbours
    from retrieval.searching.query import Query, Unusable
    from retrieval.storage.decisions import Decisions
    from retrieval.storage.records import Spot
    from retrieval.storage.verify import Verification

DEFAULT_PATH = "index_data"


class Index:
    """An index of images on disk.

    `create` makes one, `open` opens one, `add` brings it up to date with a folder, and `search` asks it:

        with Index.open("index_data") as index:
            index.add("photos")
            for match in index.search("img.jpg", k=5):
                print(match.score, match.path)

    Any number of threads and processes may search while one of them changes the index. The network is loaded when the
    first picture has to be embedded; an indexed picture has a stored vector, so a query about it needs no network.

    A method that writes raises `IndexBusy` if another process is writing, and `StorageError` if the disk is full,
    read-only or failing; what was committed before stays whole. Any method raises `IndexDamaged` if the bytes that it
    needs are missing or are not what was written.
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
        """Pickle the folder and the options, not the data: unpickling opens the index in the same folder.

        Raises `BadInput` if the index was given an encoder that cannot be pickled.
        """
        given = {"encoder": self._encoder, "weights": self._weights}
        try:
            pickle.dumps(given)
        except Exception as error:  # the encoder's own `__reduce__` may raise anything
            sentence = "the index cannot be pickled, because its encoder cannot be pickled"
            raise BadInput(sentence, hint="open it where it is needed: Index.open(..., encoder=...)") from error
        return _opened, (type(self), self._store.folder, self._execution, given)

    @cached_property
    def _model(self) -> Model:
        """The model that made the vectors. It is read at first use, so that an index can be repaired without it."""
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
        """Make an empty index in the folder `path`, and return it open.

        `network` takes the options of `NetworkOptions`. `backbone` is a name that `retrieval backbones` lists, or the
        path of a `.keras` file whose network takes RGB pixels from 0 to 255 and returns a vector or a map of features.
        The default, "auto", is the best backbone whose weights are on this machine, or else mini; nothing is downloaded
        for it. If `weights` are given without a backbone, the backbone is mini for a `.npz` file, else mobilenet_v2.

        `encoder` is an encoder of your own; the backbone and its options are then ignored. `float16` stores vectors in
        half the bytes, with a small loss of precision. `faiss` and `recall` choose the search structures, as
        `configure` does.

        Raises `IndexExists` if there is an index already, `UnknownBackbone`, `WeightsNotFound`, `BadWeights`,
        `BadInput` and `StorageError`.
        """
        requested = RequestedNetwork.of(network)
        folder = Path(text_path(path, "the path of the index"))
        Store.refuse_existing(folder)
        settings: dict[str, Any] = {}  # a setting that has its default is not stored
        if flag(float16, "float16"):
            settings[FLOAT16] = True
        if search := structure_options(faiss, recall):
            settings[SEARCH] = search
        if encoder is not None:
            demand_encoder(encoder)
            store = Store.create(folder, loading.described(encoder, None, ""), settings)
            return cls(store, requested.execution, encoder=encoder)
        backbone, weights = choose(requested.backbone, requested.weights, **requested.options)
        loaded = loading.load(backbone, weights, requested.execution)
        loading.demand_int8(loaded)
        store = Store.create(folder, loading.described(loaded, loaded.backbone, weights), settings)
        return cls(store, requested.execution, loaded=loaded)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str] = DEFAULT_PATH,
        *,
        encoder: Encoder | None = None,
        **network: Unpack[NetworkOptions],
    ) -> Self:
        """Open the index in the folder `path`.

        Opening changes nothing in the folder. The one exception is an index of an older format, which is converted.

        No option is needed: the index knows its network. `backbone` and its options, if they are given, must be those
        of the network that made the index, else `ModelMismatch` is raised. `weights` are checked when they are loaded.
        `runtime`, `precision` and `threads` choose how the network is run. An index that was made with an encoder of
        your own needs the same `encoder` to embed pictures; without it, queries about indexed images still work.

        Raises `IndexNotFound`, `IndexTooNew`, `IndexDamaged`, `ModelMismatch`, `UnknownBackbone` and `BadInput`.
        """
        requested = RequestedNetwork.of(network)
        if encoder is not None:
            demand_encoder(encoder)
        store = Store(Path(text_path(path, "the path of the index")))
        index = cls(store, requested.execution, encoder=encoder, weights=requested.weights)
        try:
            with suppress(IndexDamaged):  # methods that need the model raise it again; `verify` works without a model
                index._model.demand(requested.backbone, requested.options)
        except BaseException:
            index.close()
            raise
        return index

    def empty_like(self, path: str | os.PathLike[str]) -> Self:
        """Make an empty index in the folder `path` with the network of this one, and return it open.

        The vectors of both can be compared. Raises `IndexExists`, `StorageError`, and what loading the network raises.
        """
        folder = Path(text_path(path, "the path of the index"))
        Store.refuse_existing(folder)
        encoder = self._model.encoder(many=True)
        own = encoder if self._encoder is not None else None
        store = Store.create(folder, self._model.row, {})
        return type(self)(store, self._execution, encoder=own, loaded=None if own is not None else encoder)

    @staticmethod
    def exists(path: str | os.PathLike[str] = DEFAULT_PATH) -> bool:
        """Tell whether the folder `path` holds an index.

        A folder that cannot be looked at counts as one: `open` gives the reason. Raises `BadInput` if `path` is not a
        path.
        """
        return Store.exists(Path(text_path(path, "the path of the index")))

    def close(self) -> None:
        """Close the files of the index. Everything is committed already, so nothing is lost without `close`."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        """Return the folder, the number of images and the network; only the folder if the index cannot be read."""
        try:
            with self._store.rows() as rows:
                content = f", {rows.generation.images} images, {self._model}"
        except RetrievalError:
            content = ""
        return f"<Index {self._store.folder}{content}>"

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
        tell: Callable[[Sequence[FileEvent]], None] | None = None,
    ) -> Report:
        """Bring the index up to date with all pictures below `folder`, and return a report of what was done.

        A file with the same size and times as before is not opened. A file with new times is recognised by its SHA-256.
        Only new content is embedded. If `folder` lies in a folder that is indexed already, that part is updated.

        `exclude` has patterns in the syntax of .gitignore, relative to `folder`. Pictures that match are forgotten, and
        are left out of later updates too, until `no_exclude` takes the pattern back. `prune` forgets pictures that have
        vanished, even if that is most of a root or the root itself. `retry_failed` reads unreadable files again even if
        they have not changed. `rehash` reads every file again. `progress` is called after every batch. `tell` is called
        after every commit with what became of files, in no particular order.

        Work is committed every few seconds, and when the update is interrupted. Raises `BadInput` if `folder` is not a
        folder, `IndexBusy`, `StorageError`, and what loading the network raises: `WeightsNotFound`, `BadWeights`,
        `ModelMismatch`.
        """
        place = path_of(folder, "the folder")
        excluded, no_longer_excluded = strings(exclude, "exclude"), strings(no_exclude, "no_exclude")
        from retrieval.indexing.update import Settings  # a query does not wait for what an update needs
        from retrieval.storage import claims

        settings = Settings(flag(prune, "prune"), flag(retry_failed, "retry_failed"), flag(rehash, "rehash"))
        settings = replace(settings, tell=call(tell, "tell"))
        call(progress, "progress")
        self._model.ready()
        with self._store.writing():
            spot = claims.claim(self._store, place, excluded, no_longer_excluded)
            report = self._updated(spot, settings, progress)
            if prune and not spot.below and not os.path.isdir(spot.place):
                self._store.delete_root(spot.root)
        return report

    def update(
        self,
        paths: Iterable[str | os.PathLike[str]],
        *,
        tell: Callable[[Sequence[FileEvent]], None] | None = None,
    ) -> Report:
        """Bring the index up to date with some files and folders only, and return a report of what was done.

        `paths` are those that have changed: new, written, renamed or deleted, each in an indexed folder. Nothing else
        is looked at, so that a change in a large library costs little. What `add` has been told counts here, too.
        `tell` is called after every commit with what became of files.
        Raises `BadInput` for a path that lies in no indexed folder, and what `add` raises.
        """
        places = [path_of(path, "the path of a change") for path in iterable(paths, "paths", "paths")]
        from retrieval.indexing import changes
        from retrieval.indexing.update import Settings

        call(tell, "tell")
        self._model.ready()
        with self._store.writing():
            with self._store.rows() as rows:
                roots = rows.roots
            reports = [
                self._updated(spot, Settings(only=only, tell=tell))
                for spot, only in changes.by_root(roots, places).items()
            ]
        return changes.added_up(reports)

    def add_vectors(
        self,
        images: Iterable[str | os.PathLike[str]],
        vectors: Any,  # noqa: ANN401 - what numpy can make an array of
        *,
        root: str | os.PathLike[str],
    ) -> Report:
        """Add images with vectors of your own, and return a report of what was done.

        `images` are n files, and `vectors` are (n, dim) numbers, a row for each file in the same order. Rows of any
        length are accepted; they are stored with length 1, in float32. The vectors must be comparable with those of the
        encoder of the index, which is not called. `root` is the folder in which the files lie, as `add` takes it. The
        files are read and hashed as in `add`, and a later `add` finds them unchanged. The other files of the folder are
        left as they are.

        An image that the index has already keeps its vector. Files with the same bytes are one image, which gets the
        vector of the first of them. A file that is not a readable picture is counted as unreadable, and gets no vector.

        Raises `BadInput` before anything is added: for vectors of another shape, a row that is all zeros or not all
        finite, a path that is not a file, lies outside `root`, is given twice, or that `add` would leave out. Raises
        `IndexBusy` and `StorageError`.
        """
        files = [path_of(image, "the path of an image") for image in iterable(images, "images", "paths")]
        place = path_of(root, "the root")
        from retrieval.indexing import own_vectors
        from retrieval.indexing.update import Settings
        from retrieval.storage import claims
        from retrieval.vectors.scaling import unit_vectors

        scaled = unit_vectors(vectors, len(files), self._model.row["dim"])
        given = own_vectors.by_place(files, scaled, place)
        with self._store.writing():
            index = os.path.realpath(os.fsencode(self._store.folder))
            spot = claims.claim(self._store, place, check=partial(own_vectors.demand_seen, given, index))
            return self._updated(spot, Settings(given=own_vectors.below(spot, given)))

    def _updated(
        self, spot: "Spot", settings: "Settings", progress: Callable[[Progress], None] | None = None
    ) -> Report:
        """Update the index with the folder at `spot`, and return a report; within `Store.writing`."""
        from retrieval.indexing.update import Update

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
            with suppress(RetrievalError):  # the caller gets the first error, not one that follows from it
                _remember(self._store, self._model)
            raise
        _remember(self._store, self._model)
        if settings.only is None:  # after a change of a few files, what each commit tidies is enough
            self._store.settle()
        self._tag_new()
        return report

    def remove(self, *paths: str | os.PathLike[str]) -> Report:
        """Forget the files at `paths`, or all files below the folders there. The files themselves are left alone.

        A path need not exist on disk. `Report.removed` is the number of files with images that were forgotten. A later
        `add` of the folder finds the files again, unless they are excluded. Raises `BadInput` if the index knows
        nothing at one of the paths; then nothing is forgotten. Raises `IndexBusy` and `StorageError`.
        """
        places = [path_of(path) for path in paths]
        with self._store.writing():
            with self._store.rows() as rows:
                found = [rows.files_at(place) for place in places]
            images = {file: image for _, files in found for file, image in files.items()}
            self._store.commit(Change(forget=[*images]))
            self._store.settle()  # if most images are gone, their segments are merged and get new search structures
            for root in dict.fromkeys(spot.root for spot, _ in found if not spot.below):
                self._store.delete_root(root)
            self._tag_new()
        return Report(removed=sum(image is not None for image in images.values()))

    def _tag_new(self) -> None:
        """Tag new images, and forget the tags of removed ones, if the weights of the network contain a classifier."""
        from retrieval.storage import tag_state

        with suppress(RetrievalError):  # catching up logs it
            if not tag_state.behind(self._store):
                return
        from retrieval.searching import tags

        tags.catch_up(self._store, self._model.row)

    def configure(self, *, faiss: str | None = None, recall: float | None = None, float16: bool = False) -> None:
        """Choose the search structures that the index builds from now on. The choice is kept in the index.

        `faiss` is a factory string of FAISS such as "HNSW32,SQ8", "auto" for a structure chosen by measuring, or "flat"
        for no structure. `recall`, over 0 and at most 1, is the share of the ten nearest images that a structure has to
        find. None leaves a choice as it is. Existing structures stay until `compact`. `float16` can only be chosen when
        the index is created: True is refused for an index without it.

        Raises `BadInput`, `IndexBusy` and `StorageError`.
        """
        if flag(float16, "float16") and not self._store.float16:
            raise BadInput("the index keeps vectors of float32", hint="make a new index with: --float16")
        self._store.choose(**structure_options(faiss, recall))

    def compact(self) -> None:
        """Free the space of removed images and of earlier states. Raises `IndexBusy` and `StorageError`."""
        self._store.compact()

    def verify(self, *, repair: bool = False, forget_lost: bool = False) -> "Verification":
        """Check every checksum of the index, and return what is damaged.

        `repair` mends what can be mended without losing an image. What cannot be mended is reported as `unsaved`.
        `forget_lost` repairs too, and forgets what cannot be mended. A repair raises `IndexBusy` and `StorageError`.
        """
        repair, forget_lost = flag(repair, "repair"), flag(forget_lost, "forget_lost")
        if repair or forget_lost:
            from retrieval.storage import repair as repairs

            return repairs.repair(self._store, forget_lost=forget_lost)
        from retrieval.storage import verify

        return verify.verify(self._store)

    def tune(self, ranking: str, **measured: Unpack[Measured]) -> None:
        """Choose the ranking that searches use by default: "none", "mixed" or "expansion". It is kept in the index.

        `measured` says what was measured for this choice; `Index.info` shows it. The function
        `retrieval.measuring.tuning.tune` measures which ranking is best, and then calls this method.

        Raises `BadInput` for another ranking, and for any but "none" in an empty index, `IndexBusy` and `StorageError`.
        """
        from retrieval.searching import statistics

        with self._store.writing():
            statistics.keep(self._store, word(ranking, "ranking"), measured)

    def decide(
        self,
        *,
        different: Iterable[tuple[str, str]] = (),
        removed: Iterable[tuple[str, str]] = (),
        restored: Iterable[str] = (),
    ) -> None:
        """Keep what people have decided about pictures that look alike, by the SHA-256 of their contents.

        `different` are pairs that are no duplicates. `removed` are pairs of a content that was removed, and the one
        that was kept. `restored` are contents whose removal was undone. Raises `BadInput` for what is no SHA-256,
        `IndexBusy` and `StorageError`.
        """
        from retrieval.storage import decisions

        apart, gone, back = list(different), list(removed), list(restored)
        decisions.demand_digests([*(digest for pair in (*apart, *gone) for digest in pair), *back])
        with self._store.writing():
            known = decisions.with_different(decisions.read(self._store), apart)
            known = decisions.without_removed(decisions.with_removed(known, gone), back)
            decisions.write(self._store, known)

    def forget_decisions(self) -> None:
        """Forget all that `decide` has kept. Raises `IndexBusy` and `StorageError`."""
        from retrieval.storage import decisions

        with self._store.writing():
            decisions.write(self._store, decisions.Decisions())

    # -- asking it ------------------------------------------------------------------------------------------------

    def search(
        self, query: "Query", k: int = 10, options: SearchOptions = PLAIN, *, timing: Timing | None = None
    ) -> "Matches":
        """Return the `k` images most similar to `query`, best first; fewer if the index has fewer.

        A query is a path, the bytes of a file, a PIL image, an array, the id of an indexed image, a `Match`, or
        `Tagged(words)`. An array is (height, width), (height, width, 3) or (height, width, 4), of uint8, uint16, bool,
        or floats from 0 to 1; or it is a vector, (dim,), of any length. The score is the cosine of two vectors, -1 to
        1. Equal scores stand in ascending order of id. The file that a path names is not a match of itself, but its
        copies are; see `SearchOptions`.

        `options` say which matches are left out, how matches are ordered, and which facts they get. `timing` gets the
        seconds spent on `read` (with decoding), `load` (the network), `encode`, `search` and `look up` (paths).

        Raises `UnreadableImage` if the picture cannot be read, `BadInput` for any other value that cannot be used, and
        what loading the network raises.
        """
        (answer,) = self.search_many([query], k, options, timing=timing)
        if isinstance(answer, RetrievalError):
            raise answer
        return answer

    def search_many(
        self,
        queries: "Iterable[Query]",
        k: int = 10,
        options: SearchOptions = PLAIN,
        *,
        timing: Timing | None = None,
    ) -> "list[Matches | Unusable]":
        """Return the answers to several queries, in their order. All come from one state of the index.

        An answer is the `Matches` that `search` returns, or the `UnreadableImage` or `BadInput` that it would raise: a
        query that cannot be used costs no other query its answer. Pictures are embedded in batches, which is faster
        than one by one. All of `queries` is taken before the search begins.
        """
        k, all_queries = integer(k, "k", 1), several(queries, "queries", "queries")
        with self._searcher(options, timing) as searcher:
            return searcher.matches(all_queries, k)

    def answers(
        self,
        queries: "Iterable[Query]",
        k: int = 10,
        options: SearchOptions = PLAIN,
        *,
        timing: Timing | None = None,
    ) -> Answers:
        """Return what `search_many` returns, with facts about the index. All come from one state of the index.

        The facts are the `coverage` and, after an exact search, how many of the matches the search structures find too.
        """
        k, all_queries = integer(k, "k", 1), several(queries, "queries", "queries")
        with self._searcher(options, timing) as searcher:
            return searcher.answers(all_queries, k)

    def get_similar_images(self, image_path: str | os.PathLike[str], number_of_images: int = 10) -> dict[int, str]:
        """Return position -> path of the images most similar to a picture, best first, from position 0.

        This is the answer that DeepImageSearch gives (version 3.0.3, `Search_Setup.get_similar_images`). As there, the
        picture itself is among them if it is in the index. Raises what `search` raises.
        """
        matches = self.search(image_path, number_of_images, SearchOptions(include_self=True))
        return {position: str(path) for position, path in enumerate(matches.paths)}

    def tagged(self, words: str, k: int = 10, *, offset: int = 0) -> "Matches":
        """Return the `k` images with a tag that has all the `words` in its name, best first, with all their tags.

        `Match.score` is the score of that tag; equal scores stand in ascending order of id. A word may have another
        ending: "dogs" finds "dog". The first `offset` images are left out. `search` for `Tagged(words)` does the same.

        Raises `BadInput` if no class has such a name, or if the index has no tags: they need weights with a classifier.
        """
        return self.search(Tagged(words), k, SearchOptions(offset=offset, tags=True))

    def neighbours(
        self, queries: "Iterable[Query]", k: int = 10, options: SearchOptions = PLAIN
    ) -> "Iterator[Neighbours]":
        """Yield the ids and scores of the `k` images most similar to each query, best first, in the order of `queries`.

        This is for a `k` in the thousands, because no paths are looked up. Unlike `search`, it leaves out all copies of
        the query. The options `offset`, `include_self`, `views`, `crop` and `tags` have no effect. Each batch of
        queries is answered from one state of the index, and no transaction is open while the caller works.

        Raises what `search` raises, for the first query that cannot be used.
        """
        from retrieval.networks.embedding import batches

        k, remaining = integer(k, "k", 1), iterable(queries, "queries", "queries")
        for batch in batches(remaining):
            with self._searcher(options) as searcher:
                neighbours = list(searcher.neighbours(batch, k))
            yield from neighbours

    def matches(self, neighbours: "Neighbours") -> "Matches":
        """Return the neighbours of a query as matches, with their paths, in the same order.

        Raises `IndexDamaged` for an image that the index does not have. The image may also have been removed since the
        neighbours were found.
        """
        from retrieval.searching import answer, query

        with self._store.reading() as view:
            (matches,) = answer.matches_of(view, [answer.Found(query.PreparedQuery(), neighbours)])
            return matches

    def embed(
        self,
        pictures: "Iterable[Query]",
        *,
        batch_size: int | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Vectors:
        """Return the vectors of pictures, (n, dim) float32, each row of length 1, in the order of `pictures`.

        A picture is any query of `search` except `Tagged`. For a picture that the index has, the vector is the stored
        one. Without pictures, the shape is (0, dim). `pictures` are taken one batch after the other.

        `batch_size` is the number of pictures that are read and embedded together, 32 by default. Large pictures, over
        11.5 million pixels in all, go through the network in several parts. `progress` is called after each batch with
        the number of pictures that are done.

        Raises `UnreadableImage` or `BadInput` for the first picture that has no vector, and what loading the network
        raises.
        """
        import numpy as np

        from retrieval.networks.embedding import BATCH, batches

        remaining = iterable(pictures, "pictures", "pictures")
        most = BATCH if batch_size is None else integer(batch_size, "batch_size", 1)
        call(progress, "progress")
        done, parts = 0, [np.zeros((0, self._model.row["dim"]), dtype=np.float32)]
        for batch in batches(remaining, most):
            with self._searcher() as searcher:
                parts.append(searcher.embed(batch))
            done += len(batch)
            if progress is not None:
                progress(done)
        return np.concatenate(parts)

    def vectors(self, ids: Iterable[int]) -> Vectors:
        """Return the stored vectors of images, (n, dim) float32, each row of length 1, in the order of `ids`.

        An id is a whole number of Python or numpy. Without ids, the shape is (0, dim). Raises `BadInput` for an id that
        no image of the index has.
        """
        from retrieval.searching import query

        wanted = [integer(id_, "an id", 0) for id_ in iterable(ids, "ids", "ids")]
        with self._store.reading() as view:
            return query.stored_vectors(view, wanted)

    @contextmanager
    def _searcher(self, options: SearchOptions = PLAIN, timing: Timing | None = None) -> "Iterator[Searcher]":
        """Yield a searcher of the latest state; raise `BadInput` for options or a timing of another type."""
        from retrieval.searching.answer import Searcher

        if not isinstance(options, SearchOptions):
            raise BadInput("the options of a search must be SearchOptions(...)")
        if timing is None:
            timing = Timing()
        elif not isinstance(timing, Timing):
            raise BadInput("timing must be a retrieval.Timing()")
        self._model.ready()
        with self._store.reading() as view:
            yield Searcher(self._store, view, self._model, options, timing)

    # -- facts ----------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        """Return the number of images."""
        with self._store.rows() as rows:
            return rows.generation.images

    def __bool__(self) -> bool:
        """Return True, also for an empty index: `if index` asks whether there is an index at all."""
        return True

    def __contains__(self, path: object) -> bool:
        """Tell whether the index has the image at `path`, as `id_of` finds it; False for what is not a path."""
        if not isinstance(path, str | bytes | os.PathLike):
            return False
        with suppress(BadInput):
            return self.id_of(os.fsdecode(path)) is not None
        return False

    @property
    def generation(self) -> int:
        """Number of the latest commit. It grows with each change of images."""
        with self._store.rows() as rows:
            return rows.generation.number

    def coverage(self) -> Coverage:
        """Return how much of the indexed folders a search covers: the numbers of images and of unreadable files."""
        with self._store.rows() as rows:
            return rows.coverage()

    def info(self) -> Info:
        """Return the facts that `retrieval info` prints."""
        graph = artefacts.facts_of(self._store, GRAPH) or {}
        return facts.info(self._store, str(self._model), graph.get("parity"))

    def folders(self) -> tuple[RootInfo, ...]:
        """Return the indexed folders, in byte order of their paths."""
        with self._store.rows() as rows:
            return rows.root_infos()

    def images(
        self, folder: str | os.PathLike[str] | None = None, *, where: "str | Filter | None" = None
    ) -> Iterator[IndexedImage]:
        """Yield the files with images, in byte order of root and path. If `folder` is given, yield only files below it.

        If `where` is given, yield only files that meet this filter (see `SearchOptions.where`). An image with copies is
        yielded once for each of its files. Files are read in pages of some thousands, each in a transaction of its own.
        Raises `BadInput` if the index knows no image below `folder`, and `BadFilter` for a faulty filter.
        """
        below = None if folder is None else path_of(folder, "the folder")
        if where is None:
            return facts.images(self._store, below)
        from retrieval.searching import filters, tags

        condition = filters.resolved(filters.condition_of(where), partial(tags.search, self._store))
        return facts.images(self._store, below, condition)

    def files_of(self, ids: Iterable[int]) -> dict[int, list[IndexedImage]]:
        """Return id of an image -> all of its files, for those of `ids` that the index has.

        Files that can be reached come before those that are offline; within each, they are in byte order of root and
        path.
        """
        with self._store.rows() as rows:
            return rows.files_of([integer(id_, "an id", 0) for id_ in iterable(ids, "ids", "ids")])

    def terms(self) -> dict[str, int]:
        """Return terms of filters (see `SearchOptions.where`) that images of the index meet -> their number of files.

        These are formats, shapes, years, cameras, lenses, stars and keywords. All images are looked through.
        """
        from retrieval.searching import filters

        return filters.terms(self.images())

    def tags(self, ids: Iterable[int]) -> dict[int, tuple[Tag, ...]]:
        """Return id of an image -> its tags, best first, for those of `ids` that have tags.

        If the index has no tags, or they cannot be read, there are none; the latter is logged. Tags need weights with a
        classifier.
        """
        from retrieval.storage import tag_store

        return tag_store.of_images(self._store, [integer(id_, "an id", 0) for id_ in iterable(ids, "ids", "ids")])

    def id_of(self, path: str | os.PathLike[str]) -> int | None:
        """Return the id of the image at `path`, or None if the index does not have it.

        The image is recognised by the bytes of the file, so a copy that was never indexed has an id too. If the file
        cannot be opened, the image is the one that the index has at this path.
        """
        from retrieval.searching import query

        with self._store.rows() as rows:
            return query.id_of(rows, path_of(path))

    def decisions(self) -> "Decisions":
        """Return what people have decided about pictures that look alike; see `decide`."""
        from retrieval.storage import decisions

        return decisions.read(self._store)

    @property
    def folder(self) -> Path:
        """The folder of the index."""
        return self._store.folder

    def failures(self) -> Iterator[Failure]:
        """Yield the files and folders that could not be looked at, read or decoded, in byte order of root and path."""
        return facts.failures(self._store)


def _opened(kind: type[Index], folder: Path, execution: Execution, given: dict[str, Any]) -> Index:
    """Return the index that was pickled with these values, opened again."""
    return kind(Store(folder), execution, **given)


def _stored_graph(store: Store, name: str) -> "Graph | None":
    """Return a form of the compiled network that the index keeps; None if it keeps none, or one that is damaged."""
    from retrieval.networks.graph import Graph

    artefact = artefacts.read(store, name)
    return None if artefact is None else Graph.of(artefact.files, artefact.facts)


def _remember(store: Store, model: Model) -> None:
    """Keep in the index where the weights of its network are, and the compiled network, if either is new.

    The caller holds the lock of the writer (`Store.writing`).
    """
    with store.rows() as rows:
        kept_row = rows.encoder()
    if model.row["weights"] != kept_row["weights"]:
        store.put_encoder(model.row)
    for name, graph in model.forms.items():
        from retrieval.networks.graph import SUFFIXES

        artefact = artefacts.read(store, name)
        if artefact is None or artefact.facts != graph.facts:
            artefacts.put(store, name, Artefact(graph.facts, graph.files), SUFFIXES)
