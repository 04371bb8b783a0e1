"""The model of an index: what made its vectors, and the encoder that makes more of them, loaded when it is needed."""

import logging
import os
import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from retrieval import plugins
from retrieval.backbones import DEFAULT, RANDOM, Backbone, locate_weights
from retrieval.errors import BadInput, ModelMismatch
from retrieval.runtimes import Encoder

OWN_ENCODER = '{"name": "own"}'
"""What an index keeps in place of a backbone where its creator handed in an encoder."""
_HINT = "vectors of two models cannot be compared: use the index's own, or make another index with --index DIR"

log = logging.getLogger("retrieval")


class Model:
    """The encoder of an index, as its row of the table `encoders` describes it."""

    def __init__(self, row: Mapping[str, Any], encoder: Encoder | None = None, weights: str | None = None) -> None:
        """Take the row; `encoder`, or else `weights`, where the caller has given some; `ModelMismatch`."""
        self.row = dict(row)
        self.size: tuple[int, int] = (row["height"], row["width"])
        self._given = weights
        self._loading = threading.Lock()
        self._encoder = None if encoder is None else self._checked(encoder, "the encoder that was given")

    @property
    def backbone(self) -> Backbone | None:
        """The backbone and its options; None where the index was made with an encoder of its creator's own."""
        return None if self.row["backbone"] == OWN_ENCODER else Backbone.from_json(self.row["backbone"])

    def __str__(self) -> str:
        """Name what made the vectors, for a person."""
        return str(self.backbone or "an encoder of its creator's own")

    def demand(self, name: str | None, options: Mapping[str, Any]) -> None:
        """Refuse another backbone than the index's, or other options; None stands for whatever the index has."""
        given = {key: value for key, value in options.items() if value is not None}
        if name is None and not given:
            return
        mine = self.backbone
        wanted = Backbone.choose(name or (mine.name if mine is not None else DEFAULT), **given)
        if mine is not None and wanted.name == mine.name:
            if wanted.is_model and name is not None:
                self._given = name  # its size and numbers are told by its fingerprint, when it is loaded
                return
            unsaid = {"input_size", "alpha", "minimalistic"} - given.keys()
            wanted = replace(wanted, **{key: getattr(mine, key) for key in unsaid})
        if wanted != mine:
            raise ModelMismatch(f"the index was made with {self}, not with {wanted}", hint=_HINT)

    def ready(self) -> None:
        """Look at weights that were given expressly before anything is done with the index; `ModelMismatch`."""
        if self._given is not None:
            self.encoder()

    def encoder(self) -> Encoder:
        """Return the encoder, loading it at the first call; `ModelMismatch` where its weights are not the index's."""
        with self._loading:
            if self._encoder is None:
                backbone = self.backbone
                if backbone is None:
                    raise BadInput(f"the index was made with {self}", hint="hand it in: Index.open(..., encoder=...)")
                weights = locate_weights(backbone, self._given, os.fsdecode(self.row["weights"]))
                self._encoder = self._checked(load(backbone, weights), f"{backbone} with the weights {weights}")
                self.row["weights"] = os.fsencode(weights)
            return self._encoder

    def _checked(self, encoder: Encoder, name: str) -> Encoder:
        mine, other = self.row["fingerprint"], encoder.fingerprint
        if mine != other:
            sentence = f"the index was made with {self}, fingerprint {mine[:12]}; {name} has fingerprint {other[:12]}"
            raise ModelMismatch(sentence, hint=_HINT)
        return encoder


def load(backbone: Backbone, weights: str) -> Any:  # noqa: ANN401 - a KerasEncoder, which must not be imported here
    """Return the encoder of `backbone` with `weights`, as `locate_weights` gives them."""
    if weights == RANDOM:
        log.warning("the weights are random: good for trying things out, useless for finding similar pictures")
    return plugins.load("runtime:keras")(backbone, weights)


def described(encoder: Encoder, backbone: Backbone | None, weights: str) -> dict[str, Any]:
    """Return the row of the table `encoders` for a new index; no backbone stands for an encoder of the caller's own."""
    return {
        "fingerprint": encoder.fingerprint,
        "backbone": OWN_ENCODER if backbone is None else backbone.as_json(),
        "weights": os.fsencode(weights),
        "dim": encoder.dim,
        "height": encoder.size[0],
        "width": encoder.size[1],
    }
