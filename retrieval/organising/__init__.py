"""What becomes of pictures that show the same: which one is kept, and acts on the others that can be undone.

    duplicates.find: gallery (thumbnails, vectors) -> candidates (pairs) -> compared -> groups, each with a head
    deciding.plan_of: groups -> a plan          acting: a plan -> done, and undone

`gallery` has the pictures that are compared, `pairs` and `candidates` find those that may be copies, and `groups` puts
those together that are. `keep` says which of several files is kept, and why. A `plan` says what shall be done with
which file, and which file stays. `acting` carries a plan out. Before each act it looks at the files again (`rules`) and
writes to the `journal` what it is about to do. `steps` does it. After a kill, `acting` finds out from the disk what
happened. `undo` reverts what was done. `known` tells whether an index has a picture, and `differences` what one folder
has that another one lacks.
"""

__all__ = [
    "acting",
    "deciding",
    "differences",
    "duplicates",
    "groups",
    "journal",
    "keep",
    "known",
    "pairs",
    "plan",
    "rules",
]
