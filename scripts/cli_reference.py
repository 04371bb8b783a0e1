"""Make the page docs/cli.md from the help of the commands: print it, or write it with --update."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from retrieval.cli.app import program

PAGE = Path(__file__).parent.parent / "docs" / "cli.md"
WIDTH = 78
"""Columns of the help, as a terminal of 80 columns shows it."""
READ_ON = {
    "index": ("Indexing", "indexing.md"),
    "watch": ("Indexing", "indexing.md#watching"),
    "remove": ("Indexing", "indexing.md#drives-that-are-away"),
    "query": ("Searching", "searching.md"),
    "serve": ("Looking", "looking.md#the-page"),
    "list": ("Searching", "searching.md#filters"),
    "duplicates": ("Cleaning up", "duplicates.md"),
    "undo": ("Cleaning up", "duplicates.md#undo"),
    "journal": ("Cleaning up", "duplicates.md#undo"),
    "has": ("Cleaning up", "duplicates.md#is-it-there"),
    "diff": ("Cleaning up", "duplicates.md#two-folders"),
    "cluster": ("Searching", "searching.md#groups"),
    "outliers": ("Searching", "searching.md#odd-ones"),
    "sample": ("Searching", "searching.md#samples"),
    "map": ("Searching", "searching.md#a-map"),
    "backbones": ("Backbones", "backbones.md"),
    "evaluate": ("Quality", "quality.md#measuring"),
    "tune": ("Quality", "quality.md#order-of-the-answers"),
    "classify": ("Quality", "quality.md#what-does-a-picture-show"),
    "labels": ("Quality", "quality.md#labels-of-your-own"),
    "train": ("Training", "training.md"),
    "info": ("The index on disk", "storage.md#size"),
    "verify": ("The index on disk", "storage.md#damage-and-repair"),
    "compact": ("The index on disk", "storage.md#size"),
}
"""Command -> the title and the place of the page that explains it."""
HEAD = """# Commands

This page is the help of the commands, as `retrieval COMMAND --help` prints it. It is made by
`scripts/cli_reference --update`, and a test holds it up to date. Output, JSON keys and exit codes are described under
[Searching](searching.md#output).
"""


def page() -> str:
    """Return the page as Markdown: a section for `retrieval` itself, then one per command in the order of the help."""
    return "\n".join([HEAD, *(_section(title, help_text) for title, help_text in sections())])


def sections() -> Iterator[tuple[str, str]]:
    """Yield the title of each section, `retrieval` or `retrieval COMMAND`, and the help that stands in it."""
    group: Any = typer.main.get_command(program())
    context = group.make_context("retrieval", [], resilient_parsing=True, terminal_width=WIDTH)
    yield "retrieval", group.get_help(context)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        inner = command.make_context(name, [], parent=context, resilient_parsing=True)
        yield f"retrieval {name}", command.get_help(inner)


def _section(title: str, help_text: str) -> str:
    """Return a section: a pointer to the page that explains the command, and the help."""
    pointer = ""
    if command := title.removeprefix("retrieval").strip():
        name, place = READ_ON[command]
        pointer = f"See [{name}]({place}).\n\n"
    lines = "\n".join(line.rstrip() for line in help_text.strip().splitlines())
    return f"## {title}\n\n{pointer}```text\n{lines}\n```\n"


if __name__ == "__main__":
    if sys.argv[1:] == ["--update"]:
        PAGE.write_text(page())
    else:
        sys.stdout.write(page())
