"""The extras of this package: libraries that only some tasks need, and that `pip` installs on request only."""

from retrieval.errors import one_line


def hint(purpose: str, extra: str) -> str:
    """Return what to do where an extra is missing, for example: to read it: pip install 'retrieval[heif]'."""
    return f"to {purpose}: pip install 'retrieval[{extra}]'"


def reason(error: BaseException) -> str:
    """Return on one line why an import failed.

    TensorFlow raises an `ImportError` that holds the traceback of the first one; the first one names the reason.
    """
    while isinstance(error.__context__, ImportError):
        error = error.__context__
    return one_line(error)
