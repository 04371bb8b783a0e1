"""Runs over many files: that find nothing new, against a bare walk; and what memory a long one takes."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from retrieval import Index
from retrieval.types import Pixels, Vectors
from scripts.benchmarks import corpora
from scripts.benchmarks.measure import Setting, apart, in_turns, peak, row, timed
from scripts.benchmarks.table import Row, at_most

WALK = """
import os, sys
count = size = 0
for folder, _, names in os.walk(sys.argv[1]):
    for name in names:
        size += os.stat(os.path.join(folder, name)).st_size
        count += 1
print(count, size)
"""
ENOUGH = 100_000
"""Files that the target is for."""


class MeanColour:
    """An encoder that costs nothing."""

    dim = 4
    size = (1, 1)
    fingerprint = "mean colour"

    def images(self, batch: Pixels) -> Vectors:
        """Return the colours, and 64 so that black has a direction."""
        vectors = np.concatenate([batch[:, 0, 0], np.full((len(batch), 1), 64)], axis=1).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def unchanged(setting: Setting) -> Iterator[Row]:
    """Update an index of files that are as they were."""
    count = setting.unchanged
    folder = corpora.tiny(setting, count)
    index = corpora.index(setting, f"tiny-index-{count}", lambda place: apart(made_index, folder, place))
    update = ("-m", "retrieval", "index", folder, "--index", index)

    def ours() -> float:
        return timed(update, lambda output: output.startswith(f"{count} unchanged\n"))

    def walk() -> float:
        return timed(("-c", WALK, folder), lambda output: output.startswith(f"{count} "))

    for side in (ours, walk):
        side()  # the system knows the files from now on
    times = in_turns(setting.short_rounds, ours, walk)
    what = f"`retrieval index` over {count:,} unchanged files, whole process, against `os.walk` and `os.stat`"
    target = at_most(4) if count >= ENOUGH else None  # of few files, most is the start of the process
    yield row("unchanged", what, times, "s", target)


def memory(setting: Setting) -> Iterator[Row]:
    """Index few pictures and many: long runs need no more memory than short ones."""
    few, many = (corpora.small(setting, count) for count in setting.memory)
    apart(peak_of_indexing, few)  # compiles the network, which takes Keras and memory
    peaks = in_turns(1, lambda: apart(peak_of_indexing, many), lambda: apart(peak_of_indexing, few))
    what = "peak memory of indexing {1:,} pictures, against {0:,}".format(*setting.memory)
    yield row("memory", what, peaks, "MB", at_most(1.15))


# -- what runs in a process of its own ----------------------------------------------------------------------------


def made_index(folder: str, place: str) -> None:
    """Index all pictures of `folder` in `place`."""
    with Index.create(place, encoder=MeanColour()) as made:
        made.add(folder)


def peak_of_indexing(folder: str) -> float:
    """Return the megabytes that indexing `folder` with the smallest network takes."""
    with (
        TemporaryDirectory() as home,
        Index.create(Path(home, "index"), backbone="mobilenet", alpha=0.25, input_size=128, weights="random") as index,
    ):
        report = index.add(folder)
    assert report.added == len(corpora.files_below(Path(folder))), str(report)
    return peak() / 1e6
