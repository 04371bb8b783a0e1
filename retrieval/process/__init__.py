"""What this process has and how it behaves, for all other folders.

`threads` runs work that Ctrl-C does not wait for. `memory` tells how much memory the process may use, and lets large
pictures wait for room in it. `forks` says what a forked child must not share with its parent. `quiet` keeps the logs of
TensorFlow and Keras off stderr.
"""

__all__ = ["forks", "memory", "quiet", "threads"]
