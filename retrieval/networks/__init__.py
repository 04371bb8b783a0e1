"""Networks turn pixels into vectors: backbones with their weights, and the runtimes that run them.

    options -> catalogue: a backbone -> weights: a file -> loading: an encoder -> embedding: checked vectors
    loading: a `graph` from the cache, or `convert` -> another process: building -> export -> layout -> a `graph`

`encoder` holds the seam `Encoder`; `keras` and `openvino` implement it, and are loaded by name through `plugins`.
`execution` says how a network is run. `graph` is a network converted for OpenVINO, after its `parity` with Keras was
measured, and `compiled` runs it. `downloads` fetches what Keras publishes. `imagenet` tells which of 1,000 classes a
picture shows, and `directions` gives each class as a direction among the vectors.
"""

__all__ = [
    "building",
    "catalogue",
    "directions",
    "downloads",
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
