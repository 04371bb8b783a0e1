"""README and the pages of the guide, taken apart: blocks of code, marks that say whether they run, links, headings."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import PROJECT

README = PROJECT / "README.md"
GUIDE = sorted((PROJECT / "docs").glob("*.md"))
PAGES = [README, *GUIDE]

SHELL, PYTHON, OUTPUT = "sh", "python", "text"
NOT_RUN, SLOW = "not run", "slow"

_BLOCK = re.compile(r"^(?:<!-- (not run|slow): (.+?) -->\n)?```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A block of code on a page."""

    kind: str
    """`SHELL`, `PYTHON` or `OUTPUT`, which is no code."""
    text: str
    mark: str
    """`NOT_RUN`, `SLOW`, or empty for a block that every run of the tests runs."""
    reason: str
    """The reason that the page gives for the mark."""

    def commands(self) -> Iterator[str]:
        """Yield the commands of a block for the shell, without comments."""
        for line in self.text.splitlines():
            if words(line):
                yield line


def blocks(page: Path) -> list[Block]:
    """Return all blocks of a page, in order."""
    found = _BLOCK.findall(page.read_text())
    return [Block(kind, text, mark, reason) for mark, reason, kind, text in found]


def words(line: str) -> list[str]:
    """Return the words of a command line as the shell splits it; `|` and the like are words of their own."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    return list(lexer)


def links(page: Path) -> Iterator[str]:
    """Yield the targets of all links and pictures of a page, outside its blocks."""
    yield from _LINK.findall(_BLOCK.sub("", page.read_text()))


def anchors(page: Path) -> set[str]:
    """Return the anchors of the headings of a page, as GitHub makes them."""
    headings = _HEADING.findall(_BLOCK.sub("", page.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}
