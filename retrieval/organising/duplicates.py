"""All groups of files of an index that show the same picture.

files of the index -> gallery (a thumbnail and a vector of each content) -> candidates (pairs)
  -> compared, pair by pair -> chains -> heads, and what was compared to each -> groups
"""

import os
import stat
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from retrieval.comparing.relation import BORDER, COPIES, OF_PARTS, Relation, Verdict
from retrieval.index import Index
from retrieval.organising import candidates, places
from retrieval.organising.gallery import Gallery, Step, unwatched
from retrieval.organising.groups import Belonging, Chains, Group, Member, heads
from retrieval.organising.keep import BEST, Keeper
from retrieval.organising.places import Folder, is_below
from retrieval.organising.sameness import related
from retrieval.storage.decisions import Decisions
from retrieval.types import Failure, IndexedImage

if TYPE_CHECKING:
    from retrieval.searching.filters import Filter

AT_A_TIME = 64
"""Number of pairs that the threads compare at a time."""
LONG = 200
"""Number of pictures in a chain from which on a head is compared only with those that were proposed to it. To compare
each with each would take hours, for pages or frames of a film that are all alike."""
THIN = 0.02
"""Least share of the area of a picture that an added border takes."""
GREY = 2.0
"""A picture whose channels differ by less from its luminance, in levels on average, has no colours."""
PERMILLE = 1000
"""The unit in which the finding of candidates is counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DuplicateOptions:
    """What counts as a duplicate, and which file of a group is kept."""

    where: "str | Filter | None" = None
    """Only files that meet this filter are compared; see `SearchOptions.where`."""
    between: tuple[Folder, Folder] | None = None
    """Two folders, neither in the other. A file is compared only with files of the other one."""
    safe: Sequence[Folder] = ()
    """Folders whose files are always kept. Other files are compared with them."""
    relations: Collection[Relation] = COPIES
    """Relations that count. By default all but `burst` and `same_scene`, which are pictures of their own."""
    keep: str = BEST
    """Rules by which the file to keep is chosen, separated by commas; see `keep.Keeper`."""


@dataclass(frozen=True, slots=True)
class Duplicates:
    """What was found."""

    groups: tuple[Group, ...]
    """The closest tier first; within a tier in byte order of the paths of the heads."""
    unreadable: tuple[Failure, ...]
    """Files that could not be compared by looking, because they cannot be read or have changed since."""
    offline: int
    """Number of files that were left out, because they cannot be looked at now."""


def find(index: Index, options: DuplicateOptions | None = None, progress: Step | None = None) -> Duplicates:
    """Return the groups of files of an index that show the same picture.

    Each file of a group was compared with the one that is kept. Thumbnails of 256 pixels are made for the comparison
    and kept in the cache of the user. Copies with the same bytes are found without looking. Raises `BadInput` and
    `BadFilter` for options that cannot be used.
    """
    asked = options or DuplicateOptions()
    safe = places.folders(asked.safe)
    keeper = _with_safe(Keeper.of(asked.keep), safe)
    between = None if asked.between is None else places.apart(*asked.between)
    files = [image for image in index.images(where=asked.where) if between is None or _side(image, between)]
    there = _own_files(image for image in files if not image.offline)
    if set(asked.relations) <= {Relation.SAME_BYTES}:
        found = _same_bytes(there, keeper, between)
        unreadable: Sequence[Failure] = ()
    else:
        step = progress or unwatched
        gallery = Gallery.of(there, index.vectors, step)
        corrects = asked.keep == BEST and not asked.safe
        finder = _Finder(gallery, frozenset(asked.relations), index.decisions(), keeper, corrects, between)
        found, unreadable = finder.groups(step), gallery.unreadable
    found = [_with_kept(group, safe) for group in found]
    wanted = [group for group in found if group.others]
    order = list(Relation)
    wanted.sort(key=lambda group: (order.index(group.tier), os.fsencode(group.head.image.path)))
    return Duplicates(tuple(wanted), tuple(unreadable), sum(image.offline for image in files))


def _with_kept(group: Group, safe: Sequence[bytes]) -> Group:
    """Return a group in which the files of safe folders are kept, besides the head."""
    if not safe:
        return group
    return Group(tuple(replace(one, is_kept=one.is_kept or is_below(one.image.path, safe)) for one in group.members))


def _same_bytes(files: Sequence[IndexedImage], keeper: Keeper, between: Sequence[bytes] | None) -> list[Group]:
    """Return the groups of files with the same bytes, which are the files of one image."""
    by_id: dict[int, list[IndexedImage]] = {}
    for image in files:
        by_id.setdefault(image.id, []).append(image)
    sets = [_across(keeper.sorted(copies), between) for copies in by_id.values()]
    return [_group(keeper, copies, {}) for copies in sets if len(copies) > 1]


class _Related(NamedTuple):
    """What a picture is to the head."""

    verdict: Verdict
    score: float
    """Cosine of the vectors of both."""
    fault: str = ""
    """Why the head is better, if a rule does not tell."""


@dataclass(frozen=True)
class _Finder:
    """Finds groups in a gallery."""

    gallery: Gallery
    relations: frozenset[Relation]
    decisions: Decisions
    keeper: Keeper
    corrects: bool
    """Whether a picture that lost its colours or got a border gives way to the original."""
    between: Sequence[bytes] | None
    """Two folders; only files of different ones are compared."""

    def groups(self, step: Step) -> list[Group]:
        """Return all groups, in no order."""
        share = partial(_in_permille, step)
        proposed = candidates.candidates(self.gallery, progress=share)
        proposed = [pair for pair in proposed if self._is_across(pair.first, pair.second)]
        verdicts: dict[tuple[int, int], Verdict | None] = {}
        linked = Chains(len(self.gallery))
        with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
            for start in range(0, len(proposed), AT_A_TIME):
                some = proposed[start : start + AT_A_TIME]
                # What is linked already is compared with its head below, and not with everything else.
                apart = [pair for pair in some if linked.first(pair.first) != linked.first(pair.second)]
                for pair, verdict in zip(apart, threads.map(self._looked_at, apart), strict=True):
                    if verdict is not None or pair.is_near:
                        verdicts[pair.first, pair.second] = verdict
                    if verdict is not None:
                        linked.link(pair.first, pair.second)
                step("comparing", start + len(some), len(proposed))
        return self._headed(linked, verdicts)

    def _looked_at(self, pair: candidates.Candidate) -> Verdict | None:
        return self._compared(pair.first, pair.second, parts=pair.is_near)

    def _headed(self, linked: Chains, verdicts: dict[tuple[int, int], Verdict | None]) -> list[Group]:
        """Return the groups of linked pictures. Pairs without a verdict are compared if a head needs it."""

        def verdict_on(chain: Sequence[int], a: int, b: int) -> Verdict | None:
            pair = min(a, b), max(a, b)
            if pair not in verdicts and len(chain) > LONG:
                return None
            if pair not in verdicts:
                verdicts[pair] = self._compared(*pair, parts=True)
            return verdicts[pair]

        files = {number: self.gallery.files[image.id] for number, image in enumerate(self.gallery.images)}
        better = self._originals if self.corrects else (lambda *_: set())
        found = []
        for chain in linked.sets():
            if len(chain) == 1 and len(files[chain[0]]) == 1:
                continue
            for head, number, belonging in heads(chain, files, self.keeper, partial(verdict_on, chain), better):
                found.append(self._group_of(head, number, belonging))
        return [group for group in found if group is not None]

    def _originals(self, number: int, belonging: Belonging) -> set[int]:
        """Return the pictures of which this one lost the colours, or to which it got a border; none if it is whole."""
        return {other for other, verdict in belonging if self._fault(number, other, verdict)}

    def _fault(self, number: int, other: int, verdict: Verdict) -> str:
        """Return what a picture has lost or got that another one has not, "" if nothing."""
        if verdict.because == BORDER and self.gallery.frame(number) > self.gallery.frame(other) + THIN:
            return "without the border"
        if verdict.relation is Relation.RECOLOURED and self.gallery.colour(number) < GREY < self.gallery.colour(other):
            return "with the colours"
        return ""

    def _group_of(self, head: IndexedImage, number: int, belonging: Belonging) -> Group | None:
        of = {}
        for other, verdict in belonging:
            fault = self._fault(other, number, verdict) if self.corrects else ""
            of[self.gallery.images[other].id] = _Related(verdict, self._score(number, other), fault)
        copies = self.gallery.files[head.id] if Relation.SAME_BYTES in self.relations else [head]
        files = [*copies, *(image for id_ in of for image in self.gallery.files[id_])]
        ordered = _across([head, *(image for image in self.keeper.sorted(files) if image is not head)], self.between)
        return _group(self.keeper, ordered, of, self.decisions) if len(ordered) > 1 else None

    def _compared(self, a: int, b: int, *, parts: bool) -> Verdict | None:
        """Return what two pictures are to each other if that counts, else None."""
        images = self.gallery.images[a], self.gallery.images[b]
        if not self._is_across(a, b):
            return None
        if self.decisions.are_different(images[0].sha256, images[1].sha256):
            return None
        one, other = self.gallery.subject(a), self.gallery.subject(b)
        if one is None or other is None:
            return None
        parts = parts and not self.relations.isdisjoint(OF_PARTS)
        verdict = related((images[0].path, images[1].path), (one, other), parts=parts)
        return verdict if verdict is not None and verdict.relation in self.relations else None

    def _score(self, a: int, b: int) -> float:
        return float(np.dot(self.gallery.vectors[a], self.gallery.vectors[b]))

    def _is_across(self, a: int, b: int) -> bool:
        """Tell whether one picture has a file in one folder, and the other one in the other folder."""
        if self.between is None:
            return True
        pictures = (self.gallery.files[self.gallery.images[number].id] for number in (a, b))
        return len({_side(image, self.between) for files in pictures for image in files}) > 1


def _group(
    keeper: Keeper,
    ordered: Sequence[IndexedImage],
    related: Mapping[int, _Related],
    decisions: Decisions | None = None,
) -> Group:
    """Return the group of these files, the head first. `related` tells what other images are to it, by id."""
    head, *others = ordered
    known = decisions or Decisions()
    same = _Related(Verdict(Relation.SAME_BYTES, 1.0, "the same bytes"), 1.0)
    members = []
    why = ""
    for image in others:
        verdict, score, fault = same if image.id == head.id else related[image.id]
        better = fault or keeper.reason(head, image)
        why = why or better
        was_removed = known.was_removed(image.sha256, head.sha256)
        members.append(Member(image, verdict.relation, score, f"{verdict.because}; {better}", was_removed=was_removed))
    order = list(Relation)
    members.sort(key=lambda member: order.index(member.relation or Relation.SAME_BYTES))
    return Group((Member(head, None, 1.0, why, is_kept=True), *members))


def _own_files(images: Iterable[IndexedImage]) -> list[IndexedImage]:
    """Return files without links, and of the names of one file (hard links) only the first: nothing is there twice."""
    found: list[IndexedImage] = []
    seen: set[tuple[int, int]] = set()
    for image in images:
        with suppress(OSError):  # a file that is not there is reported when it is looked at
            status = os.lstat(image.path)
            if stat.S_ISLNK(status.st_mode) or (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
        found.append(image)
    return found


# -- folders ------------------------------------------------------------------------------------------------------


def _side(image: IndexedImage, between: Sequence[bytes]) -> int:
    """Return 1 for a file of the first folder, 2 for one of the second, 0 for another one."""
    return next((number for number, folder in enumerate(between, 1) if is_below(image.path, [folder])), 0)


def _across(ordered: Sequence[IndexedImage], between: Sequence[bytes] | None) -> list[IndexedImage]:
    """Return the first of these files and those of the other folder; all of them if there are no two folders."""
    head, *others = ordered
    if between is None:
        return [head, *others]
    side = _side(head, between)
    return [head, *(image for image in others if _side(image, between) != side)]


def _with_safe(keeper: Keeper, safe: Sequence[bytes]) -> Keeper:
    """Return rules by which files in safe folders are kept before all others."""
    return keeper if not safe else keeper.preferring("in a safe folder", lambda image: is_below(image.path, safe))


def _in_permille(step: Step, share: float) -> None:
    step("finding candidates", round(share * PERMILLE), PERMILLE)
