"""Every error that `retrieval` raises on purpose.

    RetrievalError
    ├── BadInput           a value that cannot be used: an option, a folder, a query
    ├── UnreadableImage    a picture cannot be read or decoded; the message is the reason
    ├── ShortMemory        there is too little memory to read a picture now; it is an UnreadableImage
    ├── IndexNotFound      no index at that place
    ├── IndexExists        an index is there already
    ├── IndexBusy          another process is writing
    ├── IndexTooNew        written by a later version of this program
    ├── IndexDamaged       bytes on disk are not what was written
    ├── StorageError       the disk is full, read-only or failing
    ├── UnknownBackbone    no backbone of that name
    ├── WeightsNotFound    no file of weights and no network
    ├── BadWeights         a file that does not fit the backbone
    └── ModelMismatch      vectors of two models would be mixed

`str(error)` is one sentence for a person, `error.hint` the way out, `error.exit_code` what the command line ends with.
"""

from typing import ClassVar


class RetrievalError(Exception):
    """Root of all errors of this package."""

    exit_code: ClassVar[int] = 2

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class BadInput(RetrievalError, ValueError):
    """A value that was given cannot be used."""


class UnreadableImage(RetrievalError, ValueError):
    """A picture cannot be read or decoded; the message is the reason."""


class ShortMemory(UnreadableImage):
    """There is too little memory to read a picture now. The picture may be whole, and a later try may succeed."""


class IndexNotFound(RetrievalError, FileNotFoundError):
    """There is no index at the place named."""


class IndexExists(RetrievalError, FileExistsError):
    """An index cannot be created where one is."""


class IndexBusy(RetrievalError):
    """Another process is writing to the index; nothing was changed."""


class IndexTooNew(RetrievalError):
    """The index was written by a later version of this program."""


class IndexDamaged(RetrievalError):
    """Bytes of the index are missing or not what was written."""


class StorageError(RetrievalError, OSError):
    """The disk is full, read-only or failing; what was committed before is whole."""


class UnknownBackbone(RetrievalError, ValueError):
    """No backbone has that name."""


class WeightsNotFound(RetrievalError, FileNotFoundError):
    """The weights are neither on disk nor can they be downloaded."""


class BadWeights(RetrievalError, ValueError):
    """A file of weights, or a model, does not fit."""


class ModelMismatch(RetrievalError, ValueError):
    """Vectors of two different models would be compared."""


SHORT = "there was too little memory to read it"
"""What `ShortMemory` says of a file; never a number, so that such files have one reason."""
UNFORESEEN = "an error that was not foreseen; -v says which when the file is read again with --retry-failed"
"""The reason of a failure that none of the others describes."""


def reason_of(error: OSError) -> str:
    """Return what the system says of `error`, as the reason of a failure."""
    return (error.strerror or str(error)).lower()
