"""How good the answers of an index are, measured on the user's own images through `Index`.

`evaluate` collects questions with their right answers, asks them, and measures the answers with `metrics`. The
questions can be pictures that `changes` has changed. `tuning` chooses the better ranking by these measures, and
`compare` compares ways to index. `labels` reads the labels of images. `voting` lets neighbours vote about the label of
a picture, and finds labels that are probably wrong.
"""

__all__ = ["changes", "compare", "evaluate", "labels", "metrics", "tuning", "voting"]
