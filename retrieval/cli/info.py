"""`retrieval info`: what an index holds."""

import json
from typing import Annotated

import typer

from retrieval.cli.index_folder import open_index
from retrieval.cli.options import Folder, Json, Quiet, Verbose
from retrieval.cli.output import counted, put
from retrieval.types import DECODE_RULE, EXACT, Info, SearchForm, displayed


def info(
    json_lines: Json = False,
    failures: Annotated[bool, typer.Option("--failures", help="List the unreadable files, with reasons.")] = False,
    index: Folder = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Print what the index holds."""
    with open_index(index) as opened:
        if failures:
            for failure in opened.failures():
                row = {"path": str(failure.path), "reason": failure.reason}
                put(json.dumps(row) if json_lines else f"{displayed(failure.path)}: {displayed(failure.reason)}")
        elif json_lines:
            put(json.dumps(opened.info().as_dict()))
        else:
            _put_info(opened.info())


def _put_info(facts: Info) -> None:
    put(f"images      {facts.images}")
    put(f"network     {facts.backbone}; a vector has {facts.dim} numbers")
    older = f", older than {DECODE_RULE}, which a new index would have" if facts.rule < DECODE_RULE else ""
    put(f"decoding    by rule {facts.rule}{older}")
    put(f"vectors     {_vectors(facts)}")
    put(f"search      {', '.join(map(_form, facts.search)) or EXACT}")
    if facts.ranking:
        put(f"ranking     {_ranking(**facts.ranking)}")
        if facts.ranking.get("reason"):
            put(f"            {displayed(str(facts.ranking['reason']))}")
    if facts.parity is not None:
        put(f"compiled    gives Keras' vectors with a cosine of {facts.parity:.5f} or more")
    put(f"size        {facts.bytes / 1e6:.1f} MB on disk")
    put(f"generation  {facts.generation}, the number of the latest change")
    put(f"offline     {facts.offline}" + (" images, which cannot be looked at now" if facts.offline else ""))
    put("unreadable  " + (f"{counted(facts.failures, 'file')}; see which with: --failures" if facts.failures else "0"))
    for root in facts.roots:
        put(f"folder      {displayed(root.path)}: {root.images}" + ("" if root.reachable else "  (not there now)"))
        for pattern in root.exclude:
            put(f"  without   {displayed(pattern)}")


def _vectors(facts: Info) -> str:
    """Return how many are stored, and why that may be more than there are images."""
    if facts.vectors <= facts.images:
        return str(facts.vectors)
    return f"{facts.vectors}, more than images, as some were removed; give back their space with: retrieval compact"


def _ranking(name: str, by: str = "", plain: float = 0, ranked: float = 0, **_: object) -> str:
    chosen = "by score" if name == "none" else name
    what = "" if by == "labels" else " of changed pictures"
    return f"{chosen} (mAP{what} {plain:.4f} by score, {ranked:.4f} by expansion)" if by else chosen


def _form(part: SearchForm) -> str:
    if part.form == EXACT:
        return f"exact over {part.vectors}"
    if part.recall < part.target:
        return f"exact over {part.vectors} ({part.form} found {part.recall:.3f} at 10, not {part.target:g})"
    return f"{part.form} over {part.vectors} (recall {part.recall:.3f} at 10, target {part.target:g})"
