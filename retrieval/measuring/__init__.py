"""How good the answers of an index are, measured on the user's own images through `Index`.

`evaluate` says which answers are right, asks, and measures by `metrics`; `changes` changes pictures that must be found
again. `tuning` chooses a ranking by that, and `compare` compares ways to index. `labels` reads the labels of images;
`voting` gives a picture the label of its neighbours, and so finds labels that are probably wrong.
"""

__all__ = ["changes", "compare", "evaluate", "labels", "metrics", "tuning", "voting"]
