"""Acting on what is similar: which pictures are copies of each other, and what becomes of them.

vectors -> `pairs`: candidates
"""

__all__ = ["keep", "pairs"]
