"""Bring an index up to date with a folder on disk: an update reads only the files that are new or have changed.

`update` runs through the folder and the rows of its root together (`comparison`) and counts what became of each place.
New and changed files go through the `pipeline`: a `worker` reads and decodes each file, and the network embeds the
images that the index does not have. Results are `pending` until the next commit. At the end of the run, `missing`
decides what becomes of the places that the run did not see. `events` tell the caller what became of each file.
`own_vectors` checks vectors that the caller gives in place of those of the network. `changes` watches folders, and
tells which files of which root have changed.
"""

__all__ = ["changes", "own_vectors", "update"]
