"""The files that Keras publishes: ImageNet's weights, and the table of its classes. They are downloaded when needed.

    fetched -> Keras in a process of its own, with a new folder as its cache -> rename into Keras' cache

Keras checks the bytes of a file where it knows their hash, and shows its progress. It writes into its cache directly,
so a download that is cut off would leave a part of the file there. The rename makes a file complete or absent.
"""

import contextlib
import io
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from retrieval import plugins
from retrieval.errors import BadWeights, WeightsNotFound
from retrieval.networks.catalogue import IMAGENET, Backbone
from retrieval.networks.convert import UNWANTED
from retrieval.networks.weights import TABLE, cached, cached_table
from retrieval.process import children
from retrieval.process.children import ChildDied, ChildFailed, Facts, Message

SILENCE = 60
"""Time after which a server that sends nothing is given up, in seconds."""
PREFIX = "download-"
"""Beginning of the name of the folder of a download."""
OLD = 86_400
"""Time after which the folder of a download belongs to nobody any more, in seconds (a day)."""


def located(backbone: Backbone, weights: str) -> str:
    """Return `weights`, as `weights.locate_weights` gives them, with the path of the file in place of `IMAGENET`."""
    return str(fetched(backbone)) if weights == IMAGENET else weights


def fetched(backbone: Backbone) -> Path:
    """Return the file with the weights that Keras publishes, from Keras' cache or by download.

    Keras checks the bytes of the file, where it knows their hash, and downloads another one in place of a wrong one. A
    download shows a progress bar on stderr if that is a terminal. A file in a
    cache that cannot be written is taken as it is. Raises `WeightsNotFound`, and `BadWeights` for a wrong file.
    """
    name, path = backbone.weights_file, cached(backbone)
    if not backbone.published:
        raise WeightsNotFound(
            f"Keras has no weights of {backbone}",
            hint="give a file with --weights FILE, choose another --alpha, or try things out with --weights random",
        )
    here = path.is_file()
    try:
        _fetch(path, {"backbone": backbone.as_json()})
    except (OSError, ChildFailed) as error:
        if not here:
            raise WeightsNotFound(
                f"the weights of {backbone.name} ({name}) are not here and could not be downloaded ({_reason(error)})",
                hint=f"put {name} into {path.parent} or into a folder named by RETRIEVAL_WEIGHTS, give a file with "
                "--weights FILE, or try things out with --weights random",
            ) from error
        if isinstance(error, OSError | ChildDied):  # it could not be checked: the cache may be for reading only
            return path
        raise BadWeights(
            f"{path} is damaged, or is not the file that Keras publishes ({error})",
            hint="delete the file, and it is downloaded again, or give it with --weights FILE",
        ) from error
    return path


def fetched_table() -> Path:
    """Return Keras' table of the classes of ImageNet, from Keras' cache or by download; `WeightsNotFound`."""
    path = cached_table()
    if not path.is_file():
        try:
            _fetch(path, {})
        except (OSError, ChildFailed) as error:
            raise WeightsNotFound(
                f"the names of the classes ({TABLE}) are not here and could not be downloaded ({_reason(error)})",
                hint=f"put {TABLE} beside the weights, or into {path.parent}",
            ) from error
    return path


def _fetch(path: Path, question: Facts) -> None:
    """Let Keras check the file at `path`, or download it, and put it there if it is new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f"{PREFIX}*"):  # by a process that was killed
        with contextlib.suppress(OSError):  # another process sweeps too
            if left.stat().st_mtime < time.time() - OLD:
                shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=path.parent) as home:
        copy = Path(home, path.parent.name, path.name)
        copy.parent.mkdir()
        before = path.stat() if path.is_file() else None
        if before is not None:
            shutil.copy2(path, copy)
        children.ask(__name__, question, environment={"KERAS_BACKEND": "openvino", "KERAS_HOME": home})
        now = copy.stat()
        if before is None or (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            os.replace(copy, path)


def _reason(error: OSError | ChildFailed) -> str:
    """Return the reason of a failure; that of the system names the file."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}"
    return str(error)


def _downloaded(question: Facts, _: Sequence[bytes]) -> Message:
    """Download a file into the cache of this process; Keras does so when it loads the weights or names the classes."""
    plugins.put_off("scipy.signal")
    import keras
    import numpy as np

    socket.setdefaulttimeout(SILENCE)
    with contextlib.redirect_stdout(sys.stderr if sys.stderr.isatty() else io.StringIO()):
        if "backbone" not in question:
            keras.applications.imagenet_utils.decode_predictions(np.zeros((1, 1000)), top=1)
            return {}, ()
        backbone = Backbone.from_json(question["backbone"])
        builder = getattr(keras.applications, backbone.architecture.keras_name)
        shape = (backbone.published_size, backbone.published_size, 3)
        builder(weights="imagenet", include_top=backbone.has_top, input_shape=shape, **backbone.options)
    return {}, ()


if __name__ == "__main__":
    children.answer(_downloaded, without=UNWANTED)
