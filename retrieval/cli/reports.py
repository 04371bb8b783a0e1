"""What a run over a folder did, in words: its counts, what could not be read, what is away."""

from collections.abc import Mapping

from retrieval.cli.output import counted, note, put, talkative
from retrieval.types import Report

MOST_REASONS = 5
"""Kinds of failure that a report names."""


def put_report(report: Report, folder: str = "") -> None:
    """Write what a run did, and what of it a person may want to look into; each line names `folder` if one is given."""
    of = f"{folder}: " if folder else ""
    if talkative():
        put(f"{of}{report}")
    for sentence in _remarks(report):
        note(f"{of}{sentence}")


def put_unreadable(reasons: Mapping[str, int]) -> None:
    """Write why files could not be read, where there is no index that keeps which."""
    for sentence in _unreadable(reasons):
        note(sentence)


def _unreadable(reasons: Mapping[str, int]) -> list[str]:
    most = sorted(reasons.items(), key=lambda item: -item[1])
    said = [f"{count} unreadable: {reason}" for reason, count in most[:MOST_REASONS]]
    if len(most) > MOST_REASONS:
        said.append(f"{sum(count for _, count in most[MOST_REASONS:])} unreadable for other reasons")
    return said


def _remarks(report: Report) -> list[str]:
    said = _unreadable(report.reasons)
    before = report.unreadable - sum(report.reasons.values())
    if before > 0:
        said.append(f"{counted(before, 'file')} unreadable as before; see which with: retrieval info --failures")
    elif report.reasons:
        said.append("see which with: retrieval info --failures")
    said += [f"{counted(count, 'picture')} used though not whole: {what}" for what, count in report.notes.items()]
    if report.offline:
        away = counted(report.offline, "picture")
        said.append(f"{away} cannot be found or reached; nothing is forgotten without --prune")
    return said
