"""The reference store against the contract."""

from pathlib import Path

import pytest

from retrieval.vectors import VectorStore
from retrieval.vectors.oracle import ExactVectors
from tests.contracts.vectors import SegmentFilesTests


class TestExactVectors(SegmentFilesTests):
    @pytest.fixture
    def store(self, tmp_path: Path) -> VectorStore:
        return ExactVectors(tmp_path)
