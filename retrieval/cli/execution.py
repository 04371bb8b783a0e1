"""Commands that `--exec` and `--exec-batch` run on the files that were found. The placeholders are those of `fd`.

No shell reads the names of files: each arrives as one argument, whatever characters it has. All paths are absolute,
so none looks like an option.
"""

import errno
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from retrieval.cli.printing import complain
from retrieval.errors import BadInput
from retrieval.types import displayed

PLACEHOLDERS: Mapping[str, Callable[[Path], str]] = {
    "{}": os.fspath,
    "{/}": lambda path: path.name,
    "{//}": lambda path: os.fspath(path.parent),
    "{.}": lambda path: os.fspath(path.with_suffix("")),
    "{/.}": lambda path: path.stem,
}
"""Placeholder -> the part of a path that it stands for."""
_PLACEHOLDER = re.compile("|".join(map(re.escape, PLACEHOLDERS)))
BATCH_FILES = (".bat", ".cmd")
"""Ends of the names of programs that Windows runs in its shell, which would read the names of files as commands."""


@dataclass(frozen=True, slots=True)
class Execution:
    """A command to run on files."""

    words: tuple[str, ...]
    """The program and its arguments, with at least one placeholder."""
    batch: bool
    """Whether one run takes all files. Otherwise each file has a run of its own, one after another."""

    @classmethod
    def read(cls, command: str, *, batch: bool = False) -> "Execution":
        """Return the command that was written as one text, with the quotes of a POSIX shell.

        A command without a placeholder gets the path at its end. Raises `BadInput` if the quotes do not match, the
        program does not exist, or a placeholder of a batch is only a part of an argument.
        """
        try:
            words = tuple(shlex.split(command))
        except ValueError as error:
            shown = displayed(command)
            raise BadInput(f"the command {shown} cannot be read: {str(error).lower()}", hint="quote it whole") from None
        if not words:
            raise BadInput("the command is empty", hint="for example: --exec 'cp {} best/'")
        if not any(_PLACEHOLDER.search(word) for word in words):
            words = (*words, "{}")
        _demand_program(words[0], command)
        if batch:
            _demand_whole_placeholders(words)
        return cls(words, batch)

    def run(self, paths: Iterable[Path]) -> bool:
        """Run the command on each of these paths once, and return whether all runs succeeded.

        Raises `BadInput` if the system cannot start one run with so many paths.
        """
        different = list(dict.fromkeys(paths))
        if not different:
            return True
        if self.batch:
            return _succeeds(self._together(different))
        failed = [path for path in different if not _succeeds(self._alone(path))]
        return not failed

    def _alone(self, path: Path) -> list[str]:
        return [_PLACEHOLDER.sub(lambda found: PLACEHOLDERS[found[0]](path), word) for word in self.words]

    def _together(self, paths: Sequence[Path]) -> list[str]:
        words = []
        for word in self.words:
            part = PLACEHOLDERS.get(word)
            words += [word] if part is None else [part(path) for path in paths]
        return words


def _demand_program(name: str, command: str) -> None:
    """Raise `BadInput` unless the program of a command exists. One that a placeholder names is looked for later."""
    if _PLACEHOLDER.search(name):
        return
    found = shutil.which(name)
    if found is None:
        hint = "check its name; no shell reads the command"
        for file in (f"-x{command}", f"-X{command}"):
            if os.path.lexists(file):
                hint = f"to give a file whose name begins with -, write ./{file}, or put the name after --"
        raise BadInput(f"there is no program {displayed(name)}", hint=hint)
    if found.lower().endswith(BATCH_FILES):
        raise BadInput(
            f"{displayed(name)} is a batch file, which could take the name of a file for a command",
            hint="write the paths with --paths, and read them from there",
        )


def _demand_whole_placeholders(words: Sequence[str]) -> None:
    for word in words:
        if word not in PLACEHOLDERS and _PLACEHOLDER.search(word):
            raise BadInput(
                f"in --exec-batch, a placeholder is an argument of its own: {displayed(word)}",
                hint="--exec runs the command for each file, and allows it",
            )


def _succeeds(words: Sequence[str]) -> bool:
    """Run a command, and tell whether its exit code is 0. Its output goes where that of this process goes."""
    sys.stdout.flush()
    try:
        return subprocess.run(words, stdout=sys.stdout, stderr=sys.stderr, check=False).returncode == 0  # noqa: S603
    except OSError as error:
        if error.errno == errno.E2BIG:
            raise BadInput("there are too many paths for one command", hint="use --exec, or -0 | xargs -0") from error
        complain("error", f"{displayed(words[0])} cannot be run: {error.strerror}")
        return False
