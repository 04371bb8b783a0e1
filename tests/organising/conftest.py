"""Real pictures of the shared data."""

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def pictures(shared: Callable[[str], Path]) -> list[Path]:
    """Four different photographs."""
    return sorted(shared("images/corel1k/africa").glob("*.jpg"))[:4]
