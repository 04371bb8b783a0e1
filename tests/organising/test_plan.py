"""Plans as data: what contradicts itself is refused, and all others survive a file of JSON."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval import BadInput
from retrieval.organising.plan import Act, Plan

FACTS: dict[str, Any] = {"kind": "trash", "path": b"/a", "sha256": bytes(32), "kept": b"/b", "kept_sha256": bytes(32)}

paths = st.binary(min_size=1, max_size=30).map(lambda name: b"/" + name.replace(b"\0", b"-"))
digests = st.binary(min_size=32, max_size=32)


@st.composite
def acts(draw: st.DrawFn) -> Act:
    kind = draw(st.sampled_from(["trash", "move", "hardlink", "reflink", "sidecar"]))
    digest = draw(digests)
    return Act(
        kind=kind,
        path=b"/going" + draw(paths),
        sha256=digest,
        kept=b"/staying" + draw(paths),
        kept_sha256=digest if kind.endswith("link") else draw(digests),
        target=draw(paths) if kind == "move" else b"",
        text=draw(st.text(min_size=1)) if kind == "sidecar" else "",
    )


@given(st.lists(acts(), unique_by=lambda act: act.path), st.lists(paths), st.lists(paths))
def test_a_plan_survives_a_file_of_json(done: list[Act], roots: list[bytes], safe: list[bytes]) -> None:
    plan = Plan(acts=tuple(done), roots=tuple(roots), safe=tuple(safe))
    assert Plan.from_dict(json.loads(json.dumps(plan.as_dict()).encode("ascii"))) == plan


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"kind": "shred"}, "'shred' is nothing that can be done with a file"),
        ({"path": b"a"}, "the paths of an act on a must be absolute, without a zero byte"),
        ({"kind": "move", "target": b"there"}, "the paths of an act on /a must be absolute, without a zero byte"),
        ({"kept": b"/b\0"}, "the paths of an act on /a must be absolute, without a zero byte"),
        ({"sha256": b""}, "an act on /a needs the SHA-256 of both files, 32 bytes each"),
        ({"kept": b"/a"}, "/a cannot go and stay at once"),
        ({"kind": "hardlink", "sha256": bytes(31) + b"1"}, "/a and /b differ, so one cannot be a link to the other"),
        ({"kind": "reflink", "sha256": bytes(31) + b"1"}, "/a and /b differ, so one cannot be a link to the other"),
        ({"kind": "move"}, "an act on /a needs a target folder if, and only if, it is a move"),
        ({"target": b"/c"}, "an act on /a needs a target folder if, and only if, it is a move"),
        ({"text": "<words/>"}, "an act on /a needs a text if, and only if, it writes a sidecar"),
        ({"kind": "sidecar"}, "an act on /a needs a text if, and only if, it writes a sidecar"),
    ],
)
def test_an_act_that_contradicts_itself_is_refused(changed: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput) as caught:
        Act(**FACTS | changed)
    assert str(caught.value) == sentence


def test_acts_that_contradict_each_other_are_refused() -> None:
    one, other = Act(**FACTS), Act(**FACTS | {"path": b"/b", "kept": b"/c"})
    with pytest.raises(BadInput, match="a plan keeps /b and acts on it, too"):
        Plan(acts=(one, other), roots=(b"/",))
    with pytest.raises(BadInput, match="a plan acts on a file twice"):
        Plan(acts=(one, one), roots=(b"/",))
    with pytest.raises(BadInput, match="must be absolute paths"):
        Plan(acts=(one,), roots=(b"photos",))


def test_a_file_that_stays_may_get_a_sidecar_and_only_one() -> None:
    beside = Act(**FACTS | {"kind": "sidecar", "path": b"/b", "kept": b"/b", "text": "<words/>"})
    assert len(Plan(acts=(beside, Act(**FACTS)), roots=(b"/",)).acts) == 2
    with pytest.raises(BadInput, match="a plan acts on a file twice"):
        Plan(acts=(beside, beside), roots=(b"/",))


@pytest.mark.parametrize("facts", [{}, {"acts": 1}, {"acts": [{}]}, [], {"acts": [], "roots": [1], "safe": []}])
def test_what_is_no_plan_is_refused(facts: Any) -> None:
    with pytest.raises(BadInput, match="this is not a plan"):
        Plan.from_dict(facts)
