"""A folder on disk -> the index."""
