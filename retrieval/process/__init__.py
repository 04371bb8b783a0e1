"""The process in which this package runs: its threads, its memory, its forks and its stderr.

`threads` runs work that Ctrl-C does not wait for. `memory` tells how much memory the process may use, and lets a large
picture wait until there is room for its pixels. `children` runs a module in a process of its own. `forks` keeps a
forked child from using the threads, locks and databases of its parent. `quiet` keeps the logs of TensorFlow and Keras
off stderr.
"""

__all__ = ["children", "forks", "memory", "quiet", "threads"]
