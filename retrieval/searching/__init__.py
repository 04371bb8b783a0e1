"""A question -> an answer."""
