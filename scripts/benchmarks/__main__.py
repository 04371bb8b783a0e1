"""The command line of the benchmarks: `scripts/bench`."""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from scripts.benchmarks import copies, encoders, indexing, neighbours, quality, queries, reliability, updates
from scripts.benchmarks.measure import PROJECT, Setting, say
from scripts.benchmarks.table import Copies, Growth, Kind, Reliability, Row, machine, sentence, tables

Bench = Callable[[Setting], Iterable[Kind]]
BENCHES: dict[str, Bench] = {
    "index-mobilenet": indexing.mobilenet,
    "index-mini": indexing.mini,
    "index-resnet50": indexing.resnet50,
    "index-efficientnet_b0": indexing.efficientnet,
    "index-12mp": indexing.megapixels,
    "encoder": encoders.families,
    "cold-query": queries.cold,
    "cold-query-known": queries.cold_known,
    "warm-query": queries.warm,
    "unchanged": updates.unchanged,
    "vectors-100k": neighbours.against_hnswlib,
    "vectors-1m": neighbours.million,
    "ranking": neighbours.ranking,
    "filtered": neighbours.filtered,
    "growth": neighbours.growth,
    "memory": updates.memory,
    "quality": quality.corel,
    "likely": quality.likely,
    "reliability": reliability.table,
    "backbones": quality.backbones,
    "copies": copies.found,
}
LARGE = ("vectors-1m",)
"""Benches that run with --large, or where they are named."""
INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    """Run what is asked for, print the table; return the exit code, which is 0 whatever the figures are."""
    given = _options().parse_args(arguments)
    unknown = [name for name in given.only if name not in BENCHES]
    if unknown:
        print(f"error: there is no bench {unknown[0]!r}; there are: {', '.join(BENCHES)}", file=sys.stderr)
        return 2
    names = given.only or [name for name in BENCHES if given.large or name not in LARGE]
    setting = Setting(given.cache, _data(), large=given.large)
    setting = setting.quickly() if given.quick else setting
    facts, rows, code = machine(), list[Kind](), 0
    say(sentence(facts))
    try:
        for row in results(names, setting):
            say("  " + " · ".join(filter(None, row.cells())))
            rows.append(row)
    except KeyboardInterrupt:
        say("interrupted")
        code = INTERRUPTED
    print(f"{sentence(facts)}.\n\n{tables(rows)}" if rows else "no figures")
    if given.json is not None:
        given.json.write_text(json.dumps({"machine": facts, "quick": given.quick} | _by_kind(rows), indent=1) + "\n")
    return code


def results(names: Iterable[str], setting: Setting) -> Iterator[Kind]:
    """Yield the rows of the benches, one by one; of one that fails, those that it has, and one that says why."""
    for name in names:
        start = time.perf_counter()
        say(name)
        try:
            yield from BENCHES[name](setting)
        except Exception as error:  # noqa: BLE001 - the others are to run
            yield Row(name, (BENCHES[name].__doc__ or "").strip(), trouble=str(error) or type(error).__name__)
        say(f"  {time.perf_counter() - start:.0f} s")


def _by_kind(rows: Iterable[Kind]) -> dict[str, list[dict[str, Any]]]:
    names: dict[type[Kind], str] = {Row: "rows", Growth: "growth", Reliability: "reliability", Copies: "copies"}
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names.values()}
    for row in rows:
        found[names[type(row)]].append(row.as_dict())
    return found


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "scripts/bench", description="Measure against baselines that are run beside it. The table goes to stdout."
    )
    parser.add_argument("--quick", action="store_true", help="less of everything: ten minutes at most on two cores")
    parser.add_argument("--large", action="store_true", help="a million vectors, too")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="this bench; may be repeated")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there, single measurements too")
    where = user_cache_path("retrieval") / "bench"
    parser.add_argument("--cache", type=Path, default=where, metavar="DIR", help=f"keep corpora there ({where})")
    return parser


def _data() -> Path | None:
    """Return the shared pictures and weights, None where there are none."""
    folder = Path(os.environ.get("RETRIEVAL_SHARED", PROJECT.parent / "shared"), "data").resolve()
    return folder if folder.is_dir() else None


if __name__ == "__main__":
    sys.exit(main())
