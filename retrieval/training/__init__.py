"""A network of the user's own, learnt from the pictures of a folder: `retrieval train`.

    dataset: files, labels, decoded pixels -> split: training, validation, held out -> learner: one epoch after another,
    by a loss of losses -> result: quality on the held-out pictures -> a `.keras` file that an index can be made with

`recipe` holds the settings of a training, `run` does it from start to end, and `checkpoint` lets a stopped one go on.
"""

__all__ = ["recipe", "result", "run"]
