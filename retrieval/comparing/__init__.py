"""Two pictures, laid on each other: whether one is a copy of the other, and what was done to it.

`looks` makes of a thumbnail what a comparison sees, and a signature that finds candidates in all orientations.
`agreement` counts how much of the detail of two pictures agrees. `cropping` finds one picture in another one, and
`rotating` the angle between two. `relation` puts these together, and names what two pictures are to each other.
"""

__all__ = ["agreement", "cropping", "looks", "relation", "rotating"]
