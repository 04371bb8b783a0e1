"""What a bench says: rows of figures, each held against a target; the table of them; the machine they are from."""

import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from retrieval.networks.execution import cores

PACKAGES = ("keras", "tensorflow", "openvino", "faiss-cpu", "numpy", "pillow", "hnswlib")


@dataclass(frozen=True)
class Target:
    """What a figure should reach."""

    limit: float
    least: bool
    """Whether the limit is the least, not the most, that is good enough."""

    def met_by(self, figure: float) -> bool:
        """Tell whether `figure` is good enough."""
        return figure >= self.limit if self.least else figure <= self.limit

    def __str__(self) -> str:
        return f"{'≥' if self.least else '≤'} {self.limit:g}"


def at_least(limit: float) -> Target:
    """Return a target for what is better the more it is."""
    return Target(limit, least=True)


def at_most(limit: float) -> Target:
    """Return a target for what is better the less it is."""
    return Target(limit, least=False)


@dataclass(frozen=True)
class Row:
    """One figure: ours, and where there is one the baseline's, in the same unit."""

    name: str
    what: str
    ours: float | None = None
    baseline: float | None = None
    unit: str = ""
    target: Target | None = None
    of: Literal["ratio", "difference", "value"] = "ratio"
    """What the target is about: ours / baseline, |ours - baseline|, or ours alone."""
    samples: dict[str, Sequence[float]] = field(default_factory=dict)
    """The single measurements behind the medians, by side."""
    trouble: str = ""
    """Why there is no figure."""

    @property
    def figure(self) -> float | None:
        """What is held against the target."""
        if self.ours is None or self.of == "value":
            return self.ours
        if not self.baseline:
            return None
        return self.ours / self.baseline if self.of == "ratio" else abs(self.ours - self.baseline)

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none, or no figure."""
        return None if self.target is None or self.figure is None else self.target.met_by(self.figure)

    def as_dict(self) -> dict[str, Any]:
        """Return the row as JSON knows it."""
        plain = ("name", "what", "ours", "baseline", "unit", "of", "trouble")
        facts = {key: getattr(self, key) for key in plain}
        target = None if self.target is None else str(self.target)
        return facts | {"figure": self.figure, "target": target, "met": self.met, "samples": self.samples}

    def cells(self) -> list[str]:
        """Return the row as the table shows it."""
        outcome = self.trouble or {None: "", True: "yes", False: "**no**"}[self.met]
        forms = {"ratio": "{:.3g}", "difference": "Δ {:.4f}", "value": ""}
        figure = "" if self.figure is None else forms[self.of].format(self.figure)
        ours, baseline = (_quantity(value, self.unit) for value in (self.ours, self.baseline))
        return [self.name, self.what, ours, baseline, figure, str(self.target or ""), outcome]


@dataclass(frozen=True)
class Growth:
    """What a store of so many vectors costs."""

    vectors: int
    query_ms: float
    build_s: float
    disk_bytes: float
    """A vector, everything included."""
    memory_mb: float

    def as_dict(self) -> dict[str, Any]:
        """Return the row as JSON knows it."""
        return dict(vars(self))

    def cells(self) -> list[str]:
        """Return the row as the table shows it."""
        costs = (self.query_ms, self.build_s, self.disk_bytes, self.memory_mb)
        return [f"{self.vectors:,}", *(_quantity(cost, "") for cost in costs)]


@dataclass(frozen=True)
class Reliability:
    """How much of what is told of likely matches is right, by labels. Shares, None of nothing."""

    what: str
    told: float | None
    """Of the first answers, how many are told to be likely."""
    found: tuple[float | None, ...]
    """Of those that are told a probability in each tenth from a half on, how many are right."""
    right: float | None
    """Of all that are told to be likely."""
    untold: float | None
    """Of those of which nothing is told."""
    strange: float | None
    """Of pictures whose class the index does not hold, how many have a likely match."""

    def as_dict(self) -> dict[str, Any]:
        """Return the row as JSON knows it."""
        return dict(vars(self))

    def cells(self) -> list[str]:
        """Return the row as the table shows it."""
        shares = (self.told, *self.found, self.right, self.untold, self.strange)
        return [self.what, *("" if share is None else f"{share:.2f}" for share in shares)]


@dataclass(frozen=True)
class Copies:
    """How copies that were made in one way are found. Where there are three figures: ours, pHash, dHash."""

    what: str
    recall: float
    """Share of the copies whose original is found."""
    named: float
    """Of those that are found, how many are called what they are."""
    others: int
    """Number of other pairs that are called copies."""
    precision: tuple[float, ...]
    """Average precision of one list of all pairs (µAP)."""
    recall_at_90: tuple[float, ...]
    """Recall at a precision of 90 %."""

    def as_dict(self) -> dict[str, Any]:
        """Return the row as JSON knows it."""
        return dict(vars(self))

    def cells(self) -> list[str]:
        """Return the row as the table shows it."""
        shares = (*self.precision, *self.recall_at_90)
        figures = (f"{self.recall:.3f}", f"{self.named:.3f}", str(self.others), *(f"{share:.3f}" for share in shares))
        return [self.what, *figures]


Kind = Row | Growth | Reliability | Copies
HEADS: dict[type[Kind], tuple[str, ...]] = {
    Row: ("name", "what", "ours", "baseline", "ratio", "target", "met"),
    Growth: ("vectors", "query, p50 ms", "build s", "bytes a vector on disk", "peak memory MB"),
    Reliability: (
        "index", "told likely", "right of 50-60 %", "60-70 %", "70-80 %", "80-90 %", "90-100 %", "right of all told",
        "right of the others", "class not there: told likely",
    ),
    Copies: (
        "copy", "found", "named right", "other pairs", "µAP", "pHash", "dHash", "recall at 90 % precision", "pHash",
        "dHash",
    ),
}  # fmt: skip


def tables(rows: Iterable[Kind]) -> str:
    """Return the rows as tables in Markdown, one for each kind of them."""
    rows = list(rows)
    return "\n\n".join(
        _table(heads, [row.cells() for row in rows if isinstance(row, kind)])
        for kind, heads in HEADS.items()
        if any(isinstance(row, kind) for row in rows)
    )


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(_cell(text) for text in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _quantity(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}" if unit == "" else f"{value:.3g}"  # noqa: PLR2004
    return f"{text} {unit}".strip()


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    return {
        "processor": _processor(),
        "cores": cores(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES},
    }


def sentence(facts: dict[str, Any]) -> str:
    """Return the facts of a machine as one line."""
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    hardware = f"{facts['processor']}, {facts['cores']} cores, {facts['memory_gb']} GB"
    return f"{hardware}, {facts['system']}; {versions}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"
