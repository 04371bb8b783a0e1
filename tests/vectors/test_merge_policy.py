"""Which segments are worth merging."""

from retrieval.vectors import SizedRef, merge_policy
from retrieval.vectors.refs import structured


def folded(segments: list[SizedRef], most: int, **options: int) -> list[str]:
    """Return the refs that are worth folding, of segments with and without a structure."""
    parts: dict[bool, list[SizedRef]] = {False: [], True: []}
    for segment in segments:
        parts[structured(segment[0])].append(segment)
    return merge_policy.worth_folding(parts[False], parts[True], most, **options)


class TestTiers:
    """A query visits few segments, and no vector is rewritten often."""

    def part(self, name: str, count: int) -> tuple[str, int]:
        return name, count

    def test_nothing_is_folded_while_a_query_can_look_at_it(self) -> None:
        assert folded([("a", 60), ("b+c+d", 1000), ("e", 40)], 100) == []
        assert folded([("a", 60), ("b+c+d", 1000), ("e", 41)], 100) == ["a", "e"]

    def test_runs_that_add_one_leave_a_dozen_segments_and_rewrite_a_vector_a_dozen_times(self) -> None:
        sizes: list[tuple[str, int]] = []
        written = most = 0
        for number in range(5000):
            sizes.append((f"{number}", 1))
            while group := merge_policy.smallest(sizes, 1, least_growth=2):
                count = sum(size for ref, size in sizes if ref in group)
                sizes = [part for part in sizes if part[0] not in group] + [(f"{number}-{count}", count)]
                written += count
            most = max(most, len(sizes))
        assert most <= 13
        assert written <= 13 * 5000

    def test_what_is_comparable_is_folded_in(self) -> None:
        parts = [("big+x+y", 1000), ("a", 101), ("small+x+y", 200), ("middle+x+y", 603)]
        assert folded(parts, 100) == ["a", "small+x+y"]
        assert folded([*parts, ("b", 1)], 100) == ["a", "b", "small+x+y", "middle+x+y", "big+x+y"]

    def test_within_a_run_it_waits(self) -> None:
        assert folded([("a", 800)], 100, patience=8) == []
        assert folded([("a", 801)], 100, patience=8) == ["a"]
        assert folded([("a", 801), ("b+c+d", 802)], 100, patience=8) == []

    def test_growing_to_a_million_rebuilds_each_vector_a_few_times(self) -> None:
        segments: list[tuple[str, int]] = []
        built = most = 0
        for number in range(2000):
            segments.append((f"{number}", 500))
            if group := folded(segments, 20_000):
                count = sum(size for ref, size in segments if ref in group)
                segments = [part for part in segments if part[0] not in group] + [(f"{number}+a+b", count)]
                built += count
            most = max(most, sum(structured(ref) for ref, _ in segments))
        assert built <= 6 * 1_000_000
        assert most <= 6
