"""Networks turn pixels into vectors: backbones with their weights, and the runtimes that run them.

    options -> catalogue: a backbone -> weights: a file -> loading: an encoder -> embedding: checked vectors

`encoder` holds the seam `Encoder`; `keras` and `openvino` implement it, and are loaded by name through `plugins`.
`execution` says how a network is run. `graph` is a network converted for OpenVINO, and `compiled` runs it, after its
`parity` with Keras was measured. `imagenet` tells which of 1,000 classes a picture shows, and `directions` gives each
class as a direction among the vectors.
"""

__all__ = [
    "building",
    "catalogue",
    "directions",
    "embedding",
    "encoder",
    "execution",
    "graph",
    "imagenet",
    "keras",
    "loading",
    "options",
    "parity",
    "weights",
]
