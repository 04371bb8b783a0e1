"""`retrieval info`: show what an index holds."""

import json
from typing import Annotated

import typer

from retrieval.cli.find_index import open_index
from retrieval.cli.help import WHAT
from retrieval.cli.options import Folder, Json, Quiet, Verbose
from retrieval.cli.printing import counted, put
from retrieval.cli.rankings import in_words, listed
from retrieval.errors import BadInput
from retrieval.searching.ranking import by_default
from retrieval.types import DECODE_RULE, EXACT, Info, SearchForm, displayed


def info(
    failures: Annotated[
        bool, typer.Option("--failures", rich_help_panel=WHAT, help="List the unreadable files, with reasons.")
    ] = False,
    facts: Annotated[
        bool, typer.Option("--facts", rich_help_panel=WHAT, help="List what there is to filter by, with counts.")
    ] = False,
    json_lines: Json = False,
    index: Folder = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Show what the index holds: images, network, folders, failures.

    retrieval info
    retrieval info --failures

    --facts lists terms for `retrieval query --where`, with the number of files that meet each of them.
    """
    if failures and facts:
        raise BadInput("only one of --failures and --facts can be given")
    with open_index(index) as opened:
        if facts:
            for term, files in opened.terms().items():
                put(json.dumps({"term": term, "files": files}) if json_lines else f"{files:>9}  {displayed(term)}")
        elif failures:
            for failure in opened.failures():
                if json_lines:
                    put(json.dumps({"path": str(failure.path), "reason": failure.reason}))
                else:
                    put(f"{displayed(failure.path)}: {displayed(failure.reason)}")
        elif json_lines:
            put(json.dumps(opened.info().as_dict()))
        else:
            _put_info(opened.info())


def _put_info(facts: Info) -> None:
    put(f"images      {facts.images}")
    put(f"network     {facts.backbone}; a vector has {facts.dim} numbers")
    put(f"decoding    {_decoding(facts)}")
    put(f"vectors     {_vectors(facts)}")
    put(f"search      {', '.join(map(_form, facts.search)) or EXACT}")
    put(f"ranking     {_ranking(facts)}")
    if facts.ranking and facts.ranking.get("reason"):
        put(f"            {displayed(str(facts.ranking['reason']))}")
    if facts.parity is not None:
        put(f"compiled    lowest cosine between vectors of the converted network and of Keras: {facts.parity:.5f}")
    put(f"size        {facts.bytes / 1e6:.1f} MB on disk")
    put(f"generation  {facts.generation}, the number of the latest change")
    put(f"offline     {_offline(facts)}")
    put(f"unreadable  {_unreadable(facts)}")
    for root in facts.roots:
        remark = "" if root.reachable else "  (not there now)"
        put(f"folder      {displayed(root.path)}: {root.images}{remark}")
        for pattern in root.exclude:
            put(f"  excludes  {displayed(pattern)}")


def _decoding(facts: Info) -> str:
    """Return the number of the decode rule, and the number that a new index would have if that is higher."""
    newer = f"; a new index would have rule {DECODE_RULE}" if facts.rule < DECODE_RULE else ""
    return f"by rule {facts.rule}{newer}"


def _vectors(facts: Info) -> str:
    """Return the number of vectors, and the reason if there are more vectors than images."""
    if facts.vectors <= facts.images:
        return str(facts.vectors)
    return f"{facts.vectors}, some of them of removed images; to free their space: retrieval compact"


def _offline(facts: Info) -> str:
    return f"{facts.offline} images, whose files cannot be reached now" if facts.offline else "0"


def _unreadable(facts: Info) -> str:
    if not facts.failures:
        return "0"
    return f"{counted(facts.failures, 'file')}; to list them: retrieval info --failures"


def _ranking(facts: Info) -> str:
    """Return how results are ranked, and the figures that decided it."""
    chosen = facts.ranking
    if chosen is None:
        return f"{in_words(by_default(facts.images))}, by default; to measure which is best: retrieval tune"
    figures = chosen.get("map")  # absent in an index that an earlier version tuned
    if not figures:
        return in_words(chosen["name"])
    queries = "" if chosen.get("by") == "labels" else " of changed pictures"
    return f"{in_words(chosen['name'])} (mAP{queries} {listed(figures)})"


def _form(part: SearchForm) -> str:
    """Return how some of the vectors are searched, and the recall of their structure."""
    if part.form == EXACT:
        return f"exact over {part.vectors}"
    if part.recall < part.target:
        return f"exact over {part.vectors} ({part.form} is not used: recall {part.recall:.3f}, target {part.target:g})"
    return f"{part.form} over {part.vectors} (recall {part.recall:.3f} at 10, target {part.target:g})"
