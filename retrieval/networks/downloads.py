"""The files that Keras publishes: ImageNet's weights, and the table of its classes. They are downloaded when needed.

    fetched -> Keras in a process of its own, with a new folder as its cache -> rename into Keras' cache

Keras checks the bytes of a file, and shows its progress. It writes into its cache directly, so a download that is cut
off would leave a part of the file there. The rename makes a file complete or absent.
"""

import contextlib
import io
import os
import socket
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from retrieval.errors import WeightsNotFound
from retrieval.networks.catalogue import Backbone
from retrieval.networks.weights import TABLE, cached, cached_table
from retrieval.process import children
from retrieval.process.children import ChildFailed, Facts, Message

SILENCE = 60
"""Time after which a server that sends nothing is given up, in seconds."""


def fetched(backbone: Backbone) -> Path:
    """Return the file with the weights that Keras publishes, from Keras' cache or by download.

    A download shows a progress bar on stderr if that is a terminal. Raises `WeightsNotFound`.
    """
    name, path = backbone.weights_file, cached(backbone)
    if not backbone.published:
        raise WeightsNotFound(
            f"Keras has no weights of {backbone}",
            hint="give a file with --weights FILE, choose another --alpha, or try things out with --weights random",
        )
    if not path.is_file():
        try:
            _download(path, {"backbone": backbone.as_json()})
        except (OSError, ChildFailed) as error:
            raise WeightsNotFound(
                f"the weights of {backbone.name} ({name}) are not here and could not be downloaded ({error})",
                hint=f"put {name} into {path.parent} or into a folder named by RETRIEVAL_WEIGHTS, give a file with "
                "--weights FILE, or try things out with --weights random",
            ) from error
    return path


def fetched_table() -> Path:
    """Return Keras' table of the classes of ImageNet, from Keras' cache or by download; `WeightsNotFound`."""
    path = cached_table()
    if not path.is_file():
        try:
            _download(path, {})
        except (OSError, ChildFailed) as error:
            raise WeightsNotFound(
                f"the names of the classes ({TABLE}) are not here and could not be downloaded ({error})",
                hint=f"put {TABLE} beside the weights, or into {path.parent}",
            ) from error
    return path


def _download(path: Path, question: Facts) -> None:
    """Let Keras download the file of `question`, and move it to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="download-", dir=path.parent) as home:
        children.ask(__name__, question, environment={"KERAS_BACKEND": "openvino", "KERAS_HOME": home})
        os.replace(Path(home, path.parent.name, path.name), path)


def _downloaded(question: Facts, _: Sequence[bytes]) -> Message:
    """Download a file into the cache of this process; Keras does so when it loads the weights or names the classes."""
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
    children.answer(_downloaded)
