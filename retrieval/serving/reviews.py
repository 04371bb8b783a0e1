"""What people decide about duplicates: which files go, which are none, and what is undone."""

import os
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from retrieval.errors import RetrievalError
from retrieval.organising import acting, deciding, rules
from retrieval.organising.deciding import Doing
from retrieval.organising.groups import Group, Member
from retrieval.organising.journal import Journal
from retrieval.serving.library import Library
from retrieval.serving.problems import Problem
from retrieval.serving.records import MOST, PREFIX, as_dict


class Decision(BaseModel):
    """What shall become of the files of a group: those that are not kept go."""

    model_config = ConfigDict(extra="forbid")
    group: Annotated[int, Field(ge=0, description="number of the group, from 0")]
    keep: Annotated[list[int], Field(min_length=1, description="numbers of the files to keep, from 0")]


class Plan(BaseModel):
    """Decisions about the groups of a job."""

    model_config = ConfigDict(extra="forbid")
    job: Annotated[int, Field(description="number of the job that found the groups")]
    decisions: Annotated[list[Decision], Field(min_length=1, max_length=100_000)]
    dry_run: bool = False


class Different(BaseModel):
    """A group whose files are no duplicates of each other."""

    model_config = ConfigDict(extra="forbid")
    job: int
    group: Annotated[int, Field(ge=0)]


class Done(BaseModel):
    """What was done."""

    done: Annotated[int, Field(description="number of files with which something was done, or would be")]
    refused: Annotated[list[str], Field(description="why files were left as they are")]
    note: str = ""


class Undo(BaseModel):
    """An undo."""

    model_config = ConfigDict(extra="forbid")
    n: Annotated[int, Field(ge=1, le=10_000, description="number of runs to undo, the latest ones")] = 1


class Review:
    """Groups of duplicates, with what people have decided about them so far."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self.groups = groups
        self.states = ["open"] * len(groups)

    def group(self, number: int) -> Group:
        """Return a group by its number; raise `Problem` if there is none."""
        if not 0 <= number < len(self.groups):
            raise Problem(404, f"there is no group {number}")
        return self.groups[number]

    def as_dict(self, number: int) -> dict[str, Any]:
        """Return a group as JSON can hold it, with the facts about its files."""
        group = self.groups[number]
        files = [member.as_dict() | as_dict(member.image) for member in group.members]
        return {"group": number, "tier": str(group.tier), "state": self.states[number], "files": files}

    def decided(self, decision: Decision) -> Group:
        """Return a group in which the files of a decision are kept, and the first of them is the head."""
        group = self.group(decision.group)
        if self.states[decision.group] != "open":
            raise Problem(409, f"group {decision.group} is decided already")
        kept = set(decision.keep)
        if not kept <= set(range(len(group.members))):
            raise Problem(404, f"group {decision.group} has no such file")
        first, *others = sorted(kept)
        rest = [number for number in range(len(group.members)) if number not in kept]
        members: list[Member] = [replace(group.members[first], relation=None, is_kept=True)]
        members += [replace(group.members[number], is_kept=True) for number in others]
        members += [replace(group.members[number], is_kept=False) for number in rest]
        return Group(tuple(members))

    def reopen(self, paths: Sequence[str]) -> None:
        """Open the groups again whose files are back."""
        back = set(paths)
        for number, group in enumerate(self.groups):
            if any(str(member.image.path) in back for member in group.members):
                self.states[number] = "open"


def router(library: Library) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix=PREFIX)

    @routes.get("/duplicates")
    def groups(
        offset: Annotated[int, Query(ge=0, le=10**7)] = 0, k: Annotated[int, Query(ge=1, le=MOST)] = 100
    ) -> dict[str, Any]:
        """Return groups of the latest job, with what became of each: open, done or different."""
        job = library.jobs.result("duplicates")
        review: Review = job.result
        some = range(offset, min(offset + k, len(review.groups)))
        return {"job": job.number, "count": len(review.groups), "groups": [review.as_dict(number) for number in some]}

    @routes.post("/plans")
    def plan(asked: Plan) -> Done:
        """Put the files that are not kept into the trash. Every act is in the journal, and can be undone."""
        return _carried_out(library, asked)

    @routes.post("/different", status_code=204)
    def different(asked: Different) -> None:
        """Remember that the files of a group are no duplicates of each other."""
        library.demand_writable()
        review = _review(library, asked.job)
        contents = {member.image.sha256 for member in review.group(asked.group).members}
        library.index.decide(different=combinations(sorted(contents), 2))
        review.states[asked.group] = "different"

    @routes.post("/undo")
    def undo(asked: Undo) -> Done:
        """Undo what was done with files, the latest run first. The index finds them again."""
        library.demand_writable()
        return _undone(library, asked.n)

    @routes.get("/journal")
    def journal(k: Annotated[int, Query(ge=1, le=MOST)] = 100) -> list[dict[str, Any]]:
        """Return what was done with files, the latest first."""
        return _journal(library, k)

    return routes


def _carried_out(library: Library, asked: Plan) -> Done:
    review = _review(library, asked.job)
    chosen = {decision.group: review.decided(decision) for decision in asked.decisions}
    roots = [os.fsencode(root.path) for root in library.index.folders()]
    planned = deciding.plan_of(chosen.values(), Doing(kind="trash"), roots=roots)
    if asked.dry_run:
        why = [sentence for _, sentence in rules.refusals(planned)]
        return Done(done=len(planned.acts) - len(why), refused=why)
    library.demand_writable()
    outcome, _, stale = deciding.carry_out(library.index, planned)
    refused = {refusal.path for refusal in outcome.refused}
    for number, group in chosen.items():
        if not any(os.fsencode(member.image.path) in refused for member in group.others):
            review.states[number] = "done"
    return Done(done=outcome.done, refused=[refusal.why for refusal in outcome.refused], note=stale)


def _undone(library: Library, n: int) -> Done:
    outcome, undone, stale = deciding.undo(library.index, n)
    paths = [os.fsdecode(entry.step.path) for entry in undone]
    try:
        if paths:
            library.index.update(paths)
    except RetrievalError as error:  # the files are back all the same
        stale = stale or f"the index does not list them yet: {error}"
    job = library.jobs.find("duplicates")
    if job is not None and isinstance(job.result, Review):
        job.result.reopen(paths)
    return Done(done=outcome.done, refused=[refusal.why for refusal in outcome.refused], note=stale)


def _journal(library: Library, k: int) -> list[dict[str, Any]]:
    entries = Journal(library.index.folder).entries()
    left = {entry.number for entry in acting.undoable(entries)}
    acts = [entry for entry in entries if entry.undoes is None and entry.done]
    return [
        {
            "run": entry.run,
            "time": entry.time,
            "kind": entry.step.kind,
            "path": os.fsdecode(entry.step.path),
            "undone": entry.number not in left,
        }
        for entry in reversed(acts[-k:])
    ]


def _review(library: Library, job: int) -> Review:
    latest = library.jobs.result("duplicates")
    if latest.number != job:
        raise Problem(409, "these groups are old: duplicates were looked for again since")
    review: Review = latest.result
    return review
