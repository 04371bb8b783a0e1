"""The report of a run of `index` or `remove`: its counts, and notes on files that are unreadable or offline."""

from collections.abc import Mapping

from retrieval.cli.printing import counted, note, put, talkative
from retrieval.types import Report

MOST_REASONS = 5
"""Largest number of reasons of failures that a report names; the others are added up."""


def put_report(report: Report, folder: str = "") -> None:
    """Write what a run did, and notes on what may need attention. If `folder` is given, each line begins with it."""
    prefix = f"{folder}: " if folder else ""
    if talkative():
        put(f"{prefix}{report}")
    for sentence in _remarks(report):
        note(f"{prefix}{sentence}")


def note_report(report: Report, folder: str) -> None:
    """Write all of it as notes, for a command whose results are something else. Each line begins with `folder`."""
    for sentence in (str(report), *_remarks(report)):
        note(f"{folder}: {sentence}")


def put_unreadable(reasons: Mapping[str, int]) -> None:
    """Write why files could not be read, for a run that made no index and so keeps no list of these files."""
    for sentence in _unreadable(reasons):
        note(sentence)


def _unreadable(reasons: Mapping[str, int]) -> list[str]:
    """Return a sentence for each of the most frequent reasons, and one for all others."""
    by_frequency = sorted(reasons.items(), key=lambda item: -item[1])
    sentences = [f"{counted(count, 'file')} unreadable: {reason}" for reason, count in by_frequency[:MOST_REASONS]]
    others = sum(count for _, count in by_frequency[MOST_REASONS:])
    if others > 0:
        sentences.append(f"{counted(others, 'file')} unreadable for other reasons")
    return sentences


def _remarks(report: Report) -> list[str]:
    """Return a sentence for each fact of the report that may need attention."""
    sentences = _unreadable(report.reasons)
    known_before = report.unreadable - sum(report.reasons.values())
    advice = "to list unreadable files: retrieval info --failures"
    if known_before > 0:
        sentences.append(f"{counted(known_before, 'file')} still unreadable since an earlier run; {advice}")
    elif report.reasons:
        sentences.append(advice)
    for flaw, count in report.notes.items():
        sentences.append(f"{counted(count, 'incomplete image')} used anyway: {flaw}")
    if report.offline:
        sentences.append(
            f"{counted(report.offline, 'file')} cannot be found or reached now, and the index keeps what it knows of "
            "them; to forget them: --prune"
        )
    return sentences
