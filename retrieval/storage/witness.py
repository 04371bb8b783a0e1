"""The number of the latest generation that was committed, in a file beside the database.

It decides nothing: the database says what exists. But where the database knows of an earlier generation only, what was
committed after that is lost, with the log of SQLite or a part of it, and that can be told. The file is written after
each commit and not flushed: after a power cut it may name an earlier generation, never one that was not committed.
"""

import os
import re
import zlib
from contextlib import suppress
from pathlib import Path

import sqlalchemy as sql

from retrieval.disk import files
from retrieval.errors import IndexDamaged
from retrieval.storage.signing import REPAIR
from retrieval.storage.sqlite import Database

NAME = "committed"


def tell(folder: Path, number: int) -> None:
    """Note that a generation was committed to the index in `folder`; where that cannot be written, nothing is noted."""
    digits = b"%019d" % number
    with suppress(OSError):
        flags = os.O_WRONLY | os.O_CREAT | files.NOFOLLOW
        descriptor = os.open(folder / NAME, flags, 0o666)
        try:
            os.write(descriptor, b"%s %08x\n" % (digits, zlib.crc32(digits)))
        finally:
            os.close(descriptor)


def told(folder: Path) -> int:
    """Return the number that was noted; 0 where there is none, or where the file is not what was written."""
    try:
        found = re.fullmatch(rb"(\d{19}) ([0-9a-f]{8})\n", files.read(folder / NAME))
    except FileNotFoundError:
        return 0
    return int(found[1]) if found and int(found[2], 16) == zlib.crc32(found[1]) else 0


class Losses:
    """What was committed to an index and is known not to be there."""

    def __init__(self, folder: Path, database: Database) -> None:
        self._folder, self._database = folder, database
        self.known = database.log_damage()
        """One sentence; "" for nothing."""

    def look(self) -> None:
        """See whether the database is as late as the latest commit."""
        noted = told(self._folder)  # before the database, to which another process may write meanwhile
        with self._database.reading() as connection:
            known = _newest(connection)
        self.known = f"generation {noted} was committed, and there is none after {known}" if noted > known else ""

    def demand_none(self) -> None:
        """Raise `IndexDamaged` where committed changes are lost, until a repair has seen to it."""
        if self.known:
            raise IndexDamaged(self.known, hint=REPAIR)

    def in_log(self) -> str:
        """Say what is wrong with SQLite's log by now; "" for nothing."""
        return self._database.log_damage(again=True)

    def mend_log(self, *, accept: bool) -> bool:
        """Put SQLite's log right, or take it as it is if `accept`, and tell whether it can be used."""
        if self.in_log() and not self._database.mend_log():
            if not accept and not self._database.log_is_readable():
                return False
            self._database.accept_log()
        self.known = ""
        return True

    def accept(self) -> None:
        """Take what is there for all that was committed."""
        with self._database.reading() as connection:
            tell(self._folder, _newest(connection))
        self.known = ""


def _newest(connection: sql.Connection) -> int:
    return int(connection.exec_driver_sql("SELECT max(number) FROM generations").scalar() or 0)
