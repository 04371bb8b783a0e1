"""Tests of `retrieval.comparing`."""
