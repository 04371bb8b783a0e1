"""Commands for each result, or for all of them: `-x 'cp {} best/'` and `-X 'feh {}'`, as fd has them.

There is no shell in between: a path is always one argument, whatever characters its name has.
"""

import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from retrieval.cli.printing import complain
from retrieval.errors import BadInput, reason_of
from retrieval.types import displayed

ALL = "{}"
_PARTS: Mapping[str, Callable[[Path], str]] = {
    "{}": str,
    "{/}": lambda path: path.name,
    "{//}": lambda path: str(path.parent),
    "{.}": lambda path: str(path.with_suffix("")),
    "{/.}": lambda path: path.stem,
}
"""What stands in a command -> the part of a path that takes its place."""
LONGEST = 100_000
"""Most characters of paths that are handed to one command: a tenth of what most systems allow."""


@dataclass(frozen=True, slots=True)
class Execution:
    """A command that is run with paths."""

    words: tuple[str, ...]
    together: bool
    """Whether one command gets all paths."""

    @classmethod
    def parse(cls, text: str, *, together: bool) -> "Execution":
        """Return the command of a text, whose words are split as a shell does it. Raises `BadInput`."""
        try:
            words = shlex.split(text)
        except ValueError:
            raise BadInput("a quote in the command is not closed", hint="for example: -x 'cp {} best/'") from None
        if not words:
            raise BadInput("the command is empty", hint="for example: -x 'cp {} best/'")
        if shutil.which(words[0]) is None:
            raise BadInput(f"there is no program {displayed(words[0])}", hint="check the first word of the command")
        has_place = any(part in word for word in words[1:] for part in _PARTS)
        if together and has_place and ALL not in words:
            raise BadInput("with -X, {} must be a word of its own", hint="for example: -X 'feh {}'")
        return cls((*words, *(() if has_place else (ALL,))), together)

    def run(self, paths: Sequence[Path]) -> bool:
        """Run the command with paths, and return whether all runs succeeded."""
        if self.together:
            commands = [self._with(part) for part in _parts(paths)]
        else:
            commands = [[_filled(word, path) for word in self.words] for path in paths]
        return not sum(not _succeeds(command) for command in commands)  # each is run, also after one that failed

    def _with(self, paths: Sequence[Path]) -> list[str]:
        words: list[str] = []
        for word in self.words:
            words += [str(path) for path in paths] if word == ALL else [word]
        return words


def _filled(word: str, path: Path) -> str:
    for part, shown in _PARTS.items():
        word = word.replace(part, shown(path))
    return word


def _parts(paths: Sequence[Path]) -> list[list[Path]]:
    """Return paths in parts that one command can take."""
    parts: list[list[Path]] = []
    length = LONGEST
    for path in paths:
        if length + len(str(path)) > LONGEST:
            parts.append([])
            length = 0
        parts[-1].append(path)
        length += len(str(path)) + 1
    return parts


def _succeeds(words: list[str]) -> bool:
    """Run a command, and return whether it succeeded. Its output comes behind what was written before it."""
    sys.stdout.flush()
    try:
        return subprocess.run(words, check=False).returncode == 0  # noqa: S603 - the user's own command
    except OSError as error:
        complain("error", f"{displayed(words[0])} cannot be run: {reason_of(error)}")
        return False
