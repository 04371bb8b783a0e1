"""Turns a query of any kind into an answer: the most similar images of one committed state of an index.

    query -> `query`: a vector, stored or `embedded` -> `neighbours`: ids and scores, ranked by `expansion`, judged by
          `likelihood`, filtered by `options` -> `answer`: `matches` with their paths -> `tags`: their classes
    filter -> `filters`: a condition -> `neighbours`: the images among which the search takes place

`statistics` computes and keeps what `expansion` and `likelihood` need to know about the whole index. `ranking` has the
names of the rankings.
"""

__all__ = [
    "answer",
    "diversity",
    "filters",
    "likelihood",
    "matches",
    "neighbours",
    "options",
    "query",
    "ranking",
    "statistics",
    "tags",
]
