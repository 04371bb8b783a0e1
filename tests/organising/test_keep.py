"""Which of several pictures is kept, and why."""

import random
from dataclasses import replace
from pathlib import Path

import pytest

from retrieval.errors import BadInput
from retrieval.organising.keep import Keeper
from retrieval.types import IndexedImage, Metadata

JPEG = IndexedImage(
    1, Path("/photos/a.jpg"), 4000, 3000, "JPEG", Metadata(taken="2024-05-01T10:00:00", model="R6"), 4_000_000,
    1_700_000_000_000_000_000, "0" * 64,
)  # fmt: skip
HEIC = replace(JPEG, path=Path("/photos/a.heic"), format="HEIF", bytes=2_000_000)
HALF = replace(JPEG, path=Path("/photos/half.jpg"), width=2000, height=1500, bytes=9_000_000)
WORSE = replace(JPEG, path=Path("/photos/worse.jpg"), bytes=500_000)
PLAIN = replace(JPEG, path=Path("/photos/plain.jpg"), metadata=Metadata(taken="2024-05-01T10:00:00"))
LATER = replace(JPEG, path=Path("/photos/later.jpg"), metadata=replace(JPEG.metadata, taken="2024-06-01T10:00:00"))
COPY = replace(JPEG, path=Path("/photos/copies/of/a.jpg"))
PNG = replace(JPEG, path=Path("/photos/a.png"), format="PNG", metadata=Metadata(), bytes=20_000_000)


@pytest.mark.parametrize(
    ("rule", "kept", "other", "reason"),
    [
        ("best", HEIC, replace(JPEG, width=5000), "original format: HEIF of 4000x3000, not JPEG of 5000x3000"),
        ("best", JPEG, replace(HEIC, width=100, height=75), "more pixels: 4000x3000, not 100x75"),
        ("best", JPEG, HALF, "more pixels: 4000x3000, not 2000x1500"),
        ("best", JPEG, WORSE, "less compressed: JPEG of 2.7 bits a pixel, not JPEG of 0.3 bits a pixel"),
        ("best", PNG, JPEG, "less compressed: PNG, which loses nothing, not JPEG of 2.7 bits a pixel"),
        ("best", JPEG, PLAIN, "more metadata: 2 facts, not 1 fact"),
        ("best", JPEG, LATER, "earlier: 2024-05-01T10:00:00, not 2024-06-01T10:00:00"),
        ("best", JPEG, COPY, "shorter path"),
        ("largest", replace(JPEG, width=8000), HEIC, "more pixels: 8000x3000, not 4000x3000"),
        ("largest", JPEG, HEIC, "more bytes: 4,000,000 bytes, not 2,000,000 bytes"),
        ("oldest", JPEG, LATER, "earlier: 2024-05-01T10:00:00, not 2024-06-01T10:00:00"),
        ("newest", LATER, JPEG, "later: 2024-06-01T10:00:00, not 2024-05-01T10:00:00"),
        ("path:*/COPIES/*,best", COPY, HEIC, "path like */COPIES/*"),
        ("path:nowhere/*,best", HEIC, JPEG, "original format: HEIF of 4000x3000, not JPEG of 4000x3000"),
        ("path:of/*,best", COPY, HEIC, "path like of/*"),
        (
            "best",
            JPEG,
            replace(JPEG, format="GIF", bytes=9_000_000),
            "less compressed: JPEG of 2.7 bits a pixel, not GIF of 6.0 bits a pixel",
        ),
    ],
)
def test_the_rule_decides_and_says_why(rule: str, kept: IndexedImage, other: IndexedImage, reason: str) -> None:
    keeper = Keeper.of(rule)
    assert keeper.sorted([other, kept]) == keeper.sorted([kept, other]) == [kept, other]
    assert keeper.reason(kept, other) == reason


@pytest.mark.parametrize("rule", ["best", "largest", "oldest", "newest"])
def test_one_order_whatever_the_order_of_the_files_is(rule: str) -> None:
    files = [JPEG, HEIC, HALF, WORSE, PLAIN, LATER, COPY, PNG]
    first = Keeper.of(rule).sorted(files)
    for seed in range(10):
        random.Random(seed).shuffle(files)
        assert Keeper.of(rule).sorted(files) == first


@pytest.mark.parametrize("rule", ["oldest", "newest"])
@pytest.mark.parametrize("modified_ns", [0, 4_000_000_000_000_000_000])
def test_a_time_that_the_camera_noted_comes_before_the_time_of_a_file(rule: str, modified_ns: int) -> None:
    dateless = replace(JPEG, path=Path("/photos/b.jpg"), metadata=Metadata(model="R6"), modified_ns=modified_ns)
    assert Keeper.of(rule).sorted([dateless, LATER])[0] == LATER


@pytest.mark.parametrize("rule", ["", "prettiest", "best,", "path:"])
def test_an_unknown_rule_is_refused(rule: str) -> None:
    with pytest.raises(BadInput, match="there is no rule"):
        Keeper.of(rule)


def test_what_is_preferred_comes_before_all_rules() -> None:
    keeper = Keeper.of("largest").preferring("in a safe folder", lambda image: image.path == HALF.path)
    assert keeper.sorted([JPEG, HEIC, HALF]) == [HALF, JPEG, HEIC]
    assert keeper.reason(HALF, JPEG) == "in a safe folder"
    assert keeper.reason(JPEG, HEIC) == "more bytes: 4,000,000 bytes, not 2,000,000 bytes"
    assert Keeper.of("largest").sorted([HALF, JPEG])[0] == JPEG, "the rules without it are as before"
