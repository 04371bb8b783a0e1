"""Durable files, locks, and the user's cache.

A file of an index or of a training is written beside its place, flushed to the disk and renamed, so that a file under
its own name is always whole (`files`). One process writes to an index at a time and others can see that it does
(`locks`). An index on a network file system is recognised (`mounts`). Files that can be made again lie in the cache of
the user (`cache`).
"""

__all__ = ["cache", "files", "locks", "mounts"]
