"""The backbone `mini`, which ships with the package: its architecture and the file of its weights.

It has residual blocks of plain 3x3 convolutions (He et al. 2016, Deep Residual Learning for Image Recognition), with
average pooling in the shortcuts (He et al. 2019, Bag of Tricks for Image Classification, ResNet-D). In training, two
cores compute four times as many operations per second with plain convolutions as with depthwise ones.
`scripts/train_mini.py` makes the weights. This module imports Keras, so only `networks.building` imports it.
"""

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np

from retrieval.disk.files import replacing

STEM = 32, 48
"""Channels of the first two convolutions. Each of these convolutions halves the sides of the map."""
STAGES = (48, 1), (96, 2), (176, 3)
"""Channels and number of residual blocks of each stage. Each stage except the first halves the sides of
the map."""
HEAD = 512
"""Channels of the last convolution. Each channel is averaged over the picture."""
DIM = 256
"""Length of the vectors of mini."""

Network = Any
"""A Keras model: Keras has no types."""
Tensor = Any


def network(size: tuple[int, int]) -> Network:
    """Return the network with untrained weights: RGB from -1 to 1, (n, *size, 3) -> vectors, (n, `DIM`)."""
    pixels = keras.Input((*size, 3))
    features = pixels
    for channels in STEM:
        features = _active(_convolved(features, channels, stride=2))
    for number, (channels, blocks) in enumerate(STAGES):
        for block in range(blocks):
            features = _block(features, channels, halved=number > 0 and block == 0)
    features = _active(_convolved(features, HEAD, side=1))
    vectors = keras.layers.Dense(DIM)(keras.layers.GlobalAveragePooling2D()(features))
    return keras.Model(pixels, vectors, name="mini")


def _block(before: Tensor, channels: int, *, halved: bool) -> Tensor:
    """Return the output of a residual block; `halved` halves the sides of the map."""
    after = _active(_convolved(before, channels, stride=2 if halved else 1))
    after = _convolved(after, channels)
    if halved:
        before = keras.layers.AveragePooling2D(2, padding="same")(before)
    if before.shape[-1] != channels:
        before = _convolved(before, channels, side=1)
    return _active(keras.layers.Add()([before, after]))


def _convolved(features: Tensor, channels: int, *, side: int = 3, stride: int = 1) -> Tensor:
    features = keras.layers.Conv2D(channels, side, strides=stride, padding="same", use_bias=False)(features)
    return keras.layers.BatchNormalization(momentum=0.95)(features)


def _active(features: Tensor) -> Tensor:
    return keras.layers.Activation("relu")(features)


def write(network: Network, path: Path, facts: dict[str, Any]) -> None:
    """Write the weights to a file, kernels as float16, together with `facts` about how they were made."""
    arrays: dict[str, Any] = {}
    for number, variable in enumerate(network.variables):
        array = variable.numpy()
        arrays[f"{number:03}"] = array.astype(np.float16 if array.ndim > 1 else np.float32)
    with replacing(path, durable=False) as file:
        np.savez(file, facts=np.array(json.dumps(facts)), **arrays)


def read(network: Network, path: Path) -> dict[str, Any]:
    """Give `network` the weights in a file, and return the facts of the file.

    Raises `ValueError` if the weights do not fit the network, and `OSError` if the file cannot be read.
    """
    with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
        names = [f"{number:03}" for number in range(len(network.variables))]
        if {*names, "facts"} != {*file.files}:
            raise ValueError(f"{path} does not hold the weights of this network")
        for variable, name in zip(network.variables, names, strict=True):
            variable.assign(file[name].astype(np.float32))
        facts: dict[str, Any] = json.loads(str(file["facts"]))
    return facts
