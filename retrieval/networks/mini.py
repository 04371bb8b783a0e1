"""`mini`, the network that ships with the package: its architecture, and the file that its numbers are in.

Residual blocks of plain 3x3 convolutions (He et al. 2016, Deep Residual Learning for Image Recognition), with average
pooling before a shortcut (He et al. 2019, Bag of Tricks for Image Classification, ResNet-D). Two cores calculate four
times as much a second of it, when it learns, as of depthwise convolutions. `scripts/train_mini.py` makes the numbers.
Imports Keras, so only `encoder.keras` loads it.
"""

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np

from retrieval.disk.files import replacing

STEM = 32, 48
"""Channels of two convolutions that halve the sides."""
STAGES = (48, 1), (96, 2), (176, 3)
"""Channels and residual blocks; each stage but the first halves the sides."""
HEAD = 512
"""Channels that are averaged over the picture."""
DIM = 256
"""Length of its vectors."""

Network = Any
Tensor = Any


def network(size: tuple[int, int]) -> Network:
    """Return the network without its numbers: float RGB from -1 to 1, (n, *size, 3) -> (n, `DIM`)."""
    pixels = keras.Input((*size, 3))
    features = pixels
    for channels in STEM:
        features = _active(_convolved(features, channels, stride=2))
    for number, (channels, blocks) in enumerate(STAGES):
        for block in range(blocks):
            features = _block(features, channels, halved=number > 0 and block == 0)
    features = _active(_convolved(features, HEAD, side=1))
    return keras.Model(pixels, keras.layers.Dense(DIM)(keras.layers.GlobalAveragePooling2D()(features)), name="mini")


def _block(before: Tensor, channels: int, *, halved: bool) -> Tensor:
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
    """Write the numbers, kernels as float16, with what is to be known of how they came about."""
    numbers = [variable.numpy() for variable in network.variables]
    kept = {f"{at:03}": array.astype(np.float16 if array.ndim > 1 else np.float32) for at, array in enumerate(numbers)}
    with replacing(path, durable=False) as file:
        np.savez(file, facts=np.array(json.dumps(facts)), **kept)


def read(network: Network, path: Path) -> dict[str, Any]:
    """Give `network` the numbers in a file, and return its facts; `ValueError` where they do not fit, `OSError`."""
    with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
        names = [f"{at:03}" for at in range(len(network.variables))]
        if {*names, "facts"} != {*file.files}:
            raise ValueError(f"{path} has other numbers than this network")
        for variable, name in zip(network.variables, names, strict=True):
            variable.assign(file[name].astype(np.float32))
        facts: dict[str, Any] = json.loads(str(file["facts"]))
    return facts
