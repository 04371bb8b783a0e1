"""What the server remembers, and jobs."""

import threading
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.errors import BadInput
from retrieval.serving.jobs import Job, Jobs, Step
from retrieval.serving.library import Latest
from retrieval.serving.problems import Problem


@given(st.lists(st.tuples(st.integers(0, 9), st.binary(max_size=8))), st.integers(1, 30))
def test_the_latest_values_are_remembered_within_their_bound(steps: list[tuple[int, bytes]], most: int) -> None:
    latest: Latest[bytes] = Latest(most, len)
    order: list[int] = []
    values: dict[int, bytes] = {}
    for key, value in steps:
        latest.put(key, value)
        values[key] = value
        order = [one for one in order if one != key] + [key]
        while sum(len(values[one]) for one in order) > most:
            order.pop(0)
        assert {one: latest.get(one) for one in order} == {one: values[one] for one in order}
        assert all(latest.get(one) is None for one in values.keys() - set(order))


def ended(job: Job) -> dict[str, Any]:
    while job.state == "running":
        time.sleep(0.01)
    return job.as_dict()


def test_one_job_of_a_kind_runs_at_a_time_and_can_be_stopped() -> None:
    jobs, going = Jobs(), threading.Event()

    def work(step: Step) -> None:
        going.set()
        while True:
            step("waiting", 1, 2)

    job = jobs.start("map", work)
    going.wait(10)
    with pytest.raises(Problem, match="done already"):
        jobs.start("map", work)
    with pytest.raises(Problem, match="not done yet"):
        jobs.result("map")
    assert jobs.start("update", lambda _: 3).number == 2
    job.stop()
    assert ended(job)["state"] == "cancelled"
    assert jobs.start("map", lambda _: "found").number == 3
    ended(jobs.latest("map"))
    assert jobs.result("map").result == "found"


@pytest.mark.parametrize(
    ("error", "why"), [(BadInput("too odd", hint="try"), "too odd (try)"), (OSError(5), "mistake")]
)
def test_a_job_that_fails_says_why(error: Exception, why: str) -> None:
    def work(_: Step) -> None:
        raise error

    jobs = Jobs()
    state = ended(jobs.start("map", work))
    assert state["state"] == "failed"
    assert why in state["why"]
    with pytest.raises(Problem):
        jobs.latest("update")
