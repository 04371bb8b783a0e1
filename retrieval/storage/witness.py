"""The number of the latest generation that was committed, in a file beside the database.

The file decides nothing: the database says what exists. But if the newest generation in the database is older than the
one in this file, then later commits are lost, together with SQLite's log or a part of it; and the loss is noticed. The
file is written after each commit and not flushed. So after a power cut it may name an earlier generation, but it never
names one that was not committed.
"""

import os
import re
import zlib
from contextlib import suppress
from pathlib import Path

from retrieval.disk import files
from retrieval.errors import IndexDamaged
from retrieval.storage import queries
from retrieval.storage.signing import REPAIR
from retrieval.storage.sqlite import Database

NAME = "committed"
"""Name of the file, in the folder of the index."""


def record(folder: Path, number: int) -> None:
    """Write the number of a committed generation to the file; do nothing if the file cannot be written."""
    digits = b"%019d" % number
    with suppress(OSError):
        flags = os.O_WRONLY | os.O_CREAT | files.NOFOLLOW
        descriptor = os.open(folder / NAME, flags, 0o666)
        try:
            os.write(descriptor, b"%s %08x\n" % (digits, zlib.crc32(digits)))
        finally:
            os.close(descriptor)


def recorded(folder: Path) -> int:
    """Return the number in the file; 0 if the file is missing or damaged."""
    try:
        found = re.fullmatch(rb"(\d{19}) ([0-9a-f]{8})\n", files.read(folder / NAME))
    except FileNotFoundError:
        return 0
    return int(found[1]) if found and int(found[2], 16) == zlib.crc32(found[1]) else 0


class Losses:
    """Committed changes of an index that are known to be lost."""

    def __init__(self, folder: Path, database: Database) -> None:
        self._folder, self._database = folder, database
        self.known = database.log_damage()
        """A sentence that says what is lost; "" for nothing."""

    def look(self) -> None:
        """Compare the newest generation in the database with the one that was committed last."""
        committed = recorded(self._folder)  # read before the database, to which another process may write meanwhile
        with self._database.reading() as connection:
            newest = queries.newest_number(connection)
        self.known = ""
        if committed > newest:
            self.known = f"generation {committed} was committed, but the newest in the database is {newest}"

    def demand_none(self) -> None:
        """Raise `IndexDamaged` if committed changes are lost and no repair has dealt with that yet."""
        if self.known:
            raise IndexDamaged(self.known, hint=REPAIR)

    def in_log(self) -> str:
        """Check SQLite's log again, and return a sentence about its damage; "" for a sound log."""
        return self._database.log_damage(again=True)

    def mend_log(self, *, accept: bool) -> bool:
        """Repair SQLite's log, and tell whether it can be used now.

        If some of its words cannot be corrected, all its pages are accepted as they are, and repaired row by row later.
        If pages are missing, the log is accepted only with `accept`.
        """
        if self.in_log() and not self._database.mend_log():
            if not accept and not self._database.log_is_readable():
                return False
            self._database.accept_log()
        self.known = ""
        return True

    def accept(self) -> None:
        """Regard the newest generation in the database as the one that was committed last."""
        with self._database.reading() as connection:
            record(self._folder, queries.newest_number(connection))
        self.known = ""
