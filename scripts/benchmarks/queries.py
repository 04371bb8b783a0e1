"""How long an answer takes: a cold process against `import keras`, a warm one against decoding and encoding alone."""

import os
from collections.abc import Iterator
from pathlib import Path

from retrieval import Index, SearchOptions
from retrieval.networks import loading
from retrieval.networks.catalogue import Backbone
from retrieval.pictures import decode
from scripts.benchmarks import corpora
from scripts.benchmarks.measure import Setting, apart, in_turns, row, seconds_of, timed
from scripts.benchmarks.table import Row, at_most

K = 10
ASKED = 20
"""Photographs that a warm process is asked about in a round."""
BY_SCORE = SearchOptions(ranking="none")
"""The default ranking takes longer: the bench `ranking` measures how much."""
IMPORT = ("-c", "import keras")


def cold(setting: Setting) -> Iterator[Row]:
    """Ask a process about a picture that it has not seen: it needs the network."""
    yield _cold(setting, "cold-query", "a picture that is not", corpora.originals(setting)[0], 0.25)


def cold_known(setting: Setting) -> Iterator[Row]:
    """Ask a process about an indexed picture: it needs no network."""
    known = corpora.files_below(corpora.small(setting, setting.indexed))[0]
    yield _cold(setting, "cold-query-known", "a picture that is", known, 0.22)


def _cold(setting: Setting, name: str, which: str, picture: Path, limit: float) -> Row:
    command = ("-m", "retrieval", "query", picture, "--index", index(setting), "-k", str(K))

    def ours() -> float:
        return timed(command, lambda output: output.startswith("rank ") and len(output.splitlines()) > K)

    def keras() -> float:
        return timed(IMPORT)

    for side in (ours, keras):
        side()  # its files are in memory from now on
    times = in_turns(setting.short_rounds, ours, keras)
    what = f"`retrieval query`, {which} among {setting.indexed:,}, whole process, against `import keras`"
    return row(name, what, times, "s", at_most(limit))


def warm(setting: Setting) -> Iterator[Row]:
    """Ask a process that has answered before."""
    found = apart(
        warm_times, index(setting), corpora.originals(setting)[:ASKED], corpora.weights(setting), setting.short_rounds
    )
    what = f"`Index.search` by score among {setting.indexed:,}, against decoding and encoding the picture alone"
    yield row("warm-query", what, found, "ms", at_most(1.3))


def index(setting: Setting) -> Path:
    """Return an index of small pictures, made by the code as it is."""
    folder = corpora.small(setting, setting.indexed)
    name, given = f"{corpora.kind(setting)}-index-{setting.indexed}", corpora.weights(setting)
    return corpora.index(setting, name, lambda place: apart(made_index, folder, place, given))


# -- what runs in a process of its own ----------------------------------------------------------------------------


def made_index(folder: str, place: str, given: str) -> None:
    """Index all pictures of `folder` in `place`."""
    with Index.create(place, backbone="mobilenet_v2", weights=given) as made:
        made.add(folder)


def warm_times(place: str, paths: list[str], given: str, rounds: int) -> list[list[float]]:
    """Return the milliseconds a picture of both sides, in turns."""
    backbone = Backbone.choose("mobilenet_v2")
    encoder = loading.load(backbone, given)
    data = [Path(path).read_bytes() for path in paths]

    def alone() -> None:
        for picture in data:
            encoder.images(decode.decode(picture, backbone.input_size).pixels[None])

    with Index.open(place) as opened:

        def ours() -> None:
            for path in paths:
                assert len(opened.search(os.fspath(path), K, BY_SCORE)) == K

        for side in (ours, alone):
            side()  # the network is loaded from now on
        each = 1000 / len(paths)
        return in_turns(rounds, lambda: each * seconds_of(ours), lambda: each * seconds_of(alone))
