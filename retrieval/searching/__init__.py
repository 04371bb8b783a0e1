"""A query of any kind becomes an answer: the most similar images of one committed state of an index.

    query -> `query`: a vector, stored or embedded -> `neighbours`: ids and scores, ranked by `expansion`, judged by
          `likelihood`, filtered by `options` -> `answer`: matches with their paths -> `tags`: their classes

`statistics` computes what ranking and judging need to know about the whole index, and keeps it.
"""

__all__ = ["answer", "likelihood", "neighbours", "options", "query", "ranking", "statistics", "tags"]
