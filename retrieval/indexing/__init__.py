"""A folder on disk becomes what the index knows: an update reads only what has changed.

`update` runs through the folder and the rows of its root together (`comparison`) and counts what became of each place.
Files that are new or touched go through the `pipeline`: a `worker` reads and decodes each, and the network embeds what
the index does not have. What was found is `pending` until it is committed. Places that the run did not see are judged
at the end (`missing`).
"""

__all__ = ["update"]
