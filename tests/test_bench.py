"""The benchmarks: the arithmetic of their table, what their command line refuses, and some at the size of a toy."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scripts.benchmarks import __main__ as command
from scripts.benchmarks import corpora, encoders, neighbours, quality, updates
from scripts.benchmarks.measure import BenchError, Setting, apart, in_turns, row, steady_rate, timed
from scripts.benchmarks.table import Growth, Row, at_least, at_most, machine, sentence, tables


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    """A run without shared data, of next to nothing."""
    return replace(
        Setting(tmp_path / "cache", None).quickly(), short_rounds=1, long_rounds=1, unchanged=200, vectors=30
    )


def test_a_ratio_is_ours_by_the_baseline() -> None:
    fast = row("a", "what", [[8.0, 10.0, 90.0], [2.0, 1.0, 2.5]], "pictures/s", at_least(4))
    assert (fast.ours, fast.baseline, fast.figure, fast.met) == (10.0, 2.0, 5.0, True)
    assert not replace(fast, target=at_least(6)).met
    assert fast.samples == {"ours": [8.0, 10.0, 90.0], "baseline": [2.0, 1.0, 2.5]}
    slow = row("a", "what", [[1.0], [4.0]], "s", at_most(0.25))
    assert (slow.figure, slow.met) == (0.25, True)
    assert not replace(slow, ours=1.1).met


def test_a_target_may_be_about_a_difference_or_a_value() -> None:
    near = Row("a", "what", 0.970, 0.972, target=at_most(0.003), of="difference")
    assert near.figure == pytest.approx(0.002)
    assert near.met
    assert near.cells()[2:] == ["0.97", "0.972", "Δ 0.0020", "≤ 0.003", "yes"]
    assert Row("a", "what", 0.985, target=at_least(0.99), of="value").met is False


def test_without_a_figure_or_a_target_nothing_is_met_or_missed() -> None:
    assert Row("a", "what", trouble="no").met is None
    assert Row("a", "what", 1.0, 0.0, target=at_most(1)).met is None
    assert Row("a", "what", 1.0, 2.0).met is None


def test_the_table() -> None:
    rows = [
        row("a", "x | y", [[12.0], [3.0]], "pictures/s", at_least(5)),
        Row("b", "z", trouble="it\nbroke"),
        Growth(1000, 0.5, 1.0, 5128.0, 90.0),
    ]
    assert tables(rows).splitlines() == [
        "| name | what | ours | baseline | ratio | target | met |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        r"| a | x \| y | 12 pictures/s | 3 pictures/s | 4 | ≥ 5 | **no** |",
        "| b | z |  |  |  |  | it broke |",
        "",
        "| vectors | query, p50 ms | build s | bytes a vector on disk | peak memory MB |",
        "| --- | --- | --- | --- | --- |",
        "| 1,000 | 0.5 | 1 | 5,128 | 90 |",
    ]


def test_the_machine_is_named() -> None:
    assert "cores" in sentence(machine())
    assert {"python", "keras", "tensorflow", "openvino", "faiss-cpu", "numpy"} <= machine()["versions"].keys()


def test_sides_take_turns() -> None:
    calls: list[str] = []
    sides = [lambda side=side: float(calls.append(side) or len(calls)) for side in "ab"]
    assert in_turns(2, *sides) == [[1.0, 3.0], [2.0, 4.0]]
    assert calls == ["a", "b", "a", "b"]


def test_a_steady_rate_leaves_out_the_start() -> None:
    assert steady_rate([(0.0, 0), (5.0, 32), (6.0, 64), (7.0, 96)], 20) == 32.0
    with pytest.raises(BenchError, match="too few"):
        steady_rate([(1.0, 32)], 20)


def test_a_bench_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--only", "growth", "--only", "nonsense"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: there is no bench 'nonsense'; there are: index-mobilenet, ")
    assert len(said.err.splitlines()) == 1


def test_a_run_reports_troubles_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_: Setting) -> Iterator[Row]:
        """Break."""
        yield Row("broken", "half", 1.0, 2.0, target=at_least(9))
        raise OSError("no disk")

    benches = {"broken": broken, "other": lambda _: [Row("other", "what", 1.0, 1.0)]}
    monkeypatch.setattr(command, "BENCHES", benches)
    assert command.main(["--json", str(tmp_path / "figures.json")]) == 0
    assert capsys.readouterr().out.splitlines()[-3:] == [
        "| broken | half | 1 | 2 | 0.5 | ≥ 9 | **no** |",
        "| broken | Break. |  |  |  |  | no disk |",
        "| other | what | 1 | 1 | 1 |  |  |",
    ]
    found = json.loads((tmp_path / "figures.json").read_text())
    assert [row["met"] for row in found["rows"]] == [False, None, None]
    assert found["machine"]["cores"] >= 1


def test_an_interrupted_run_shows_what_it_has(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: Setting) -> Iterator[Row]:
        yield Row("a", "what", 1.0, 1.0)
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "BENCHES", {"a": interrupted})
    assert command.main([]) == 130
    assert "| a | what | 1 | 1 | 1 |  |  |" in capsys.readouterr().out


def test_processes_that_fail_or_say_something_else() -> None:
    with pytest.raises(BenchError, match="ValueError: no"):
        timed(("-c", "raise ValueError('no')"))
    with pytest.raises(BenchError, match="unexpected output: 'a"):
        timed(("-c", "print('a')"), lambda output: output == "b\n")
    assert apart(quality.scores, [[True, False, True], [False, True, False]]) == [
        0.5,
        pytest.approx((5 / 6 + 1 / 2) / 2),
    ]


def test_what_is_made_is_whole_or_not_there(tmp_path: Path) -> None:
    def half(place: Path) -> None:
        (place / "some").mkdir(parents=True)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        corpora.made(tmp_path / "corpus", half)
    assert not (tmp_path / "corpus").exists()
    made = corpora.made(tmp_path / "corpus", lambda place: (place / "whole").mkdir(parents=True))
    assert [path.name for path in made.iterdir()] == ["whole"]
    assert [path.name for path in tmp_path.iterdir()] == ["corpus"]


def test_unchanged_for_real(setting: Setting) -> None:
    (found,) = updates.unchanged(setting)
    assert found.name == "unchanged"
    assert found.ours
    assert found.baseline
    assert found.figure == found.ours / found.baseline
    assert found.target is None  # which is for more files than these


def test_vectors_for_real(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    paths = [str(tmp_path / name) for name in ("0.npy", "1.npy", "queries.npy")]
    for path, count in zip(paths, (300, 200, 20), strict=True):
        vectors = chance.normal(size=(count, 16)).astype(np.float32)
        np.save(path, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    (tmp_path / "store").mkdir()
    found = apart(neighbours.grown, tmp_path / "store", paths[:2], paths[2])
    assert found["recall"] == 1
    assert found["query_s"] > 0
    assert apart(neighbours.opened, tmp_path / "store", found["ref"], paths[2]) > 0
    assert all(ms > 0 for ms in apart(neighbours.ranked, tmp_path / "store", paths[:2], paths[2]))
    for _, found_share, ours, whole in apart(neighbours.among, tmp_path / "store", paths[:2], paths[2]):
        assert (found_share, ours > 0, whole > 0) == (1, True, True)
    corpora.mix(paths[:2], str(tmp_path / "mixed"), 0, 50)
    assert np.linalg.norm(np.load(tmp_path / "mixed"), axis=1) == pytest.approx(np.ones(50), abs=1e-6)


def test_pictures_can_be_drawn(setting: Setting) -> None:
    pictures = corpora.files_below(corpora.small(setting, 5))
    assert len({path.read_bytes() for path in pictures}) == 5
    assert len(corpora.originals(setting)) == 200
    some = corpora.files_below(corpora.photographs(setting, 202))
    assert len({path.read_bytes() for path in some}) == 202


def test_one_network_a_family() -> None:
    names = encoders.smallest()
    assert len(names) == 15
    assert {"mobilenet_v2", "resnet50", "efficientnet_b0", "mobilenet_v3_small"} == set(names[:4])
