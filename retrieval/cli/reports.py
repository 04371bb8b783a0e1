"""What a run over a folder did, in words: its counts, what could not be read, what is away."""

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


def _remarks(report: Report) -> list[str]:
    reasons = sorted(report.reasons.items(), key=lambda item: -item[1])
    said = [f"{count} unreadable: {reason}" for reason, count in reasons[:MOST_REASONS]]
    if len(reasons) > MOST_REASONS:
        said.append(f"{sum(count for _, count in reasons[MOST_REASONS:])} unreadable for other reasons")
    before = report.unreadable - sum(report.reasons.values())
    if before > 0:
        said.append(f"{counted(before, 'file')} unreadable as before; see which with: retrieval info --failures")
    elif reasons:
        said.append("see which with: retrieval info --failures")
    if report.offline:
        away = counted(report.offline, "picture")
        said.append(f"{away} cannot be found or reached and stay in the index; --prune forgets them")
    return said
