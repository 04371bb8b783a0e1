"""How things are measured: in turns, by medians, in processes of their own; and how much of it there is."""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scripts.benchmarks.table import Row, Target

PROJECT = Path(__file__).parents[2]


class BenchError(Exception):
    """A bench cannot be run, or what it runs fails; one sentence."""


@dataclass(frozen=True)
class Setting:
    """What a run is to do, and how much of it."""

    cache: Path
    """Where corpora, vectors and indexes are kept for the next run."""
    data: Path | None
    """The shared pictures and weights; None where there are none."""
    large: bool = False
    """Whether there is time for a million vectors."""
    long_rounds: int = 3
    short_rounds: int = 9
    """Turns of each side: of those that take many seconds, and of those that take few."""
    photographs: int = 2000
    """Pictures for a light network."""
    heavy: int = 512
    """Pictures for a heavy one."""
    megapixel: tuple[int, int] = (48, 240)
    """Pictures of 12 megapixels: how many are made, and how many files of distinct bytes they become."""
    families: int = 99
    """Families of networks at most."""
    indexed: int = 10_000
    """Pictures in the index that is asked."""
    unchanged: int = 100_000
    """Files of the run that finds nothing new."""
    memory: tuple[int, int] = (2000, 20_000)
    """Pictures of the run that shows what one needs, and of the longer one that should need no more."""
    vectors: int = 100_000
    growth: tuple[int, ...] = (1000, 10_000, 100_000)

    def quickly(self) -> "Setting":
        """Return the setting that takes ten minutes at most on two cores."""
        return replace(
            self,
            long_rounds=2,
            short_rounds=5,
            photographs=800,
            heavy=128,
            megapixel=(16, 128),
            families=4,
            indexed=4000,
            unchanged=20_000,
            memory=(1000, 6000),
            vectors=20_000,
            growth=(1000, 10_000),
        )


def say(text: str) -> None:
    """Tell on stderr how far it is."""
    print(text, file=sys.stderr, flush=True)


# -- processes ----------------------------------------------------------------------------------------------------


def environment() -> dict[str, str]:
    """Return the variables of a measured process: this package, and none of the settings of whoever runs it."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("RETRIEVAL_")}
    return own | {"PYTHONPATH": os.fspath(PROJECT), "TF_CPP_MIN_LOG_LEVEL": "3"}


def apart(function: Callable[..., Any], *arguments: Any) -> Any:  # noqa: ANN401 - whatever JSON holds
    """Return what a function of a module makes of what JSON can hold, or of paths, in a fresh process."""
    code = (
        f"import json, sys; from {function.__module__} import {function.__name__} as run\n"
        "print(chr(10) + json.dumps(run(*json.loads(sys.argv[1]))))"
    )
    output = _run([sys.executable, "-P", "-c", code, json.dumps(arguments, default=os.fspath)])
    return json.loads(output.splitlines()[-1])


def timed(command: Sequence[str | os.PathLike[str]], expected: Callable[[str], bool] = lambda _: True) -> float:
    """Return the seconds from a process' start to its end; `BenchError` where it fails or does not say what it should.

    `command` begins after Python's own name.
    """
    start = time.perf_counter()
    output = _run([sys.executable, "-P", *command])
    seconds = time.perf_counter() - start
    if not expected(output):
        raise BenchError(f"unexpected output: {output[:200]!r}")
    return seconds


def _run(command: Sequence[str | os.PathLike[str]]) -> str:
    done = subprocess.run(
        command, env=environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise BenchError(lines[-1] if lines else f"a process ended with {done.returncode}")
    return done.stdout


def peak() -> int:
    """Return the most bytes of memory that this process has had.

    Not `ru_maxrss` where Linux tells it otherwise: that counts what the parent had before it became this process.
    """
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


# -- turns --------------------------------------------------------------------------------------------------------


def in_turns(rounds: int, *sides: Callable[[], float]) -> list[list[float]]:
    """Return what each side gives in each of the rounds: A B A B …, so that a slow minute is slow for both."""
    samples: list[list[float]] = [[] for _ in sides]
    for _ in range(rounds):
        for side, kept in zip(sides, samples, strict=True):
            kept.append(side())
    return samples


def row(name: str, what: str, sides: Sequence[Sequence[float]], unit: str, target: Target | None) -> Row:
    """Return the row of the medians of two sides: ours, and the baseline."""
    ours, baseline = map(statistics.median, sides)
    return Row(name, what, ours, baseline, unit, target, samples=dict(zip(("ours", "baseline"), sides, strict=True)))


def seconds_of(work: Callable[[], object]) -> float:
    """Return how long `work` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def steady_rate(stamps: Sequence[tuple[float, int]], since: int) -> float:
    """Return units a second between the first stamp (seconds, units done) with at least `since` units and the last."""
    start = next(stamp for stamp in stamps if stamp[1] >= since)
    end = stamps[-1]
    if end[1] <= start[1]:
        raise BenchError(f"{end[1]} pictures are too few to tell a rate")
    return (end[1] - start[1]) / (end[0] - start[0])
