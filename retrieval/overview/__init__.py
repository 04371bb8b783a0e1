"""What a whole library looks like: its groups, its odd ones, some of its images, and a map of all of them.

index -gathered-> each image once, with its vector -> `clusters`, `outliers`, `samples`, `maps` -> frozen records

`nearest` finds the nearest others of every vector in blocks, so memory grows with the number of images and not with its
square. `communities` groups vectors by the neighbours that they share. `layout` and `projection` make coordinates.
Every result is the same for the same index and the same options.
"""

__all__ = ["clusters", "maps", "outliers", "samples"]
