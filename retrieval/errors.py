"""Every error that `retrieval` raises on purpose.

    RetrievalError
    ├── BadInput           a value that cannot be used: an option, a folder, a query
    │   └── BadFilter      a filter with a fault, and its place
    ├── UnreadableImage    a picture that cannot be read or decoded; the message is the reason
    │   └── ShortMemory    a picture that cannot be read now, for lack of memory
    ├── IndexNotFound      no index at that place
    ├── IndexExists        an index is there already
    ├── IndexBusy          another process is writing to the index
    ├── IndexTooNew        the index was written by a later version of this program
    ├── IndexDamaged       bytes of the index are missing, or differ from those that were written
    ├── StorageError       the disk is full, read-only or failing
    ├── MissingLibrary     a library that this task needs is not installed, or cannot be used
    ├── UnknownBackbone    no backbone has that name
    ├── WeightsNotFound    the weights are not on this machine, and cannot be downloaded
    ├── BadWeights         the weights do not fit the backbone
    └── ModelMismatch      vectors of two different models cannot be compared

`str(error)` is one sentence for a person, `error.hint` says what to do, and `error.exit_code` is the exit code of the
command line.
"""

import re
from typing import ClassVar


class RetrievalError(Exception):
    """The base class of all errors of this package. `hint` says what to do; it is "" if there is no advice."""

    exit_code: ClassVar[int] = 2

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class BadInput(RetrievalError, ValueError):
    """A value that the caller gave cannot be used."""


class BadFilter(BadInput):
    """A filter has a fault. `filter` is the filter, and `at` is the position of the fault in it, from 0."""

    def __init__(self, message: str, *, hint: str = "", filter: str = "", at: int = 0) -> None:  # noqa: A002
        super().__init__(message, hint=hint)
        self.filter = filter
        self.at = at


class UnreadableImage(RetrievalError, ValueError):
    """A picture cannot be read or decoded; the message is the reason."""


class ShortMemory(UnreadableImage):
    """There is too little memory to read a picture now. The picture may be whole, and a later try may succeed."""


class IndexNotFound(RetrievalError, FileNotFoundError):
    """There is no index at that place."""


class IndexExists(RetrievalError, FileExistsError):
    """An index cannot be created where there is one already."""


class IndexBusy(RetrievalError):
    """Another process is writing to the index; nothing was changed."""


class IndexTooNew(RetrievalError):
    """The index was written by a later version of this program."""


class IndexDamaged(RetrievalError):
    """Bytes of the index are missing, or differ from those that were written."""


class StorageError(RetrievalError, OSError):
    """The disk is full, read-only or failing; what was committed before is still whole."""


class MissingLibrary(RetrievalError, ImportError):
    """A library that this task needs is not installed, or cannot be used."""


class UnknownBackbone(RetrievalError, ValueError):
    """No backbone has that name."""


class WeightsNotFound(RetrievalError, FileNotFoundError):
    """The weights are not on this machine, and cannot be downloaded."""


class BadWeights(RetrievalError, ValueError):
    """A file of weights, or a model, does not fit the backbone or cannot be read."""


class ModelMismatch(RetrievalError, ValueError):
    """Vectors of two different models cannot be compared."""


SHORT = "there was too little memory to read it"
"""The message of `ShortMemory`. It holds no number, so that all files with this failure count under one reason."""
UNFORESEEN = "an unexpected error; to see it, read the file again with -v --retry-failed"
"""The reason of a failure that no other reason describes."""


def reason_of(error: OSError) -> str:
    """Return the system's own words for `error` in lower case, as the reason of a failure."""
    return (error.strerror or str(error)).lower()


def one_line(error: BaseException) -> str:
    """Return the first sentence of an error of a library that tells something, on one line, without terminal codes.

    Keras begins with a sentence that says in which call the error occurred (keras/src/utils/traceback_utils.py).
    """
    words = " ".join(re.sub(r"\x1b\[[\d;]*m", "", str(error)).split())
    told = re.sub(r"^Exception encountered when calling \S+\. ", "", words)
    return told.partition(". ")[0][:200].rstrip(".") or type(error).__name__
