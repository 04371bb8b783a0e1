"""All groups of files of an index that show the same picture.

files of the index -> gallery (a thumbnail and a vector of each content) -> candidates (pairs)
  -> compared, pair by pair -> chains -> heads, and what was compared to each -> groups
"""

import os
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from retrieval.arguments import path_of
from retrieval.comparing.relation import BORDER, COPIES, SMALL_PART, Relation, Verdict, compare
from retrieval.errors import BadInput
from retrieval.index import Index
from retrieval.organising import candidates
from retrieval.organising.gallery import Gallery
from retrieval.organising.groups import Belonging, Chains, Group, Member, heads
from retrieval.organising.keep import BEST, Keeper
from retrieval.organising.sameness import differ_in_detail, same_pixels
from retrieval.storage.decisions import Decisions
from retrieval.types import Failure, IndexedImage, displayed

if TYPE_CHECKING:
    from retrieval.searching.filters import Filter

Folder = str | os.PathLike[str]
Step = Callable[[str, int, int], None]
"""Is told the name of a step, how much of it is done, and how much it is in all."""
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
    keeper = _with_safe(Keeper.of(asked.keep), _folders(asked.safe))
    between = None if asked.between is None else _apart(asked.between)
    files = [image for image in index.images(where=asked.where) if between is None or _side(image, between)]
    there = [image for image in files if not image.offline and not os.path.islink(image.path)]
    if set(asked.relations) <= {Relation.SAME_BYTES}:
        found = _same_bytes(there, keeper, between)
        unreadable: Sequence[Failure] = ()
    else:
        step = progress or (lambda *_: None)
        contents = len({image.id for image in there})
        gallery = Gallery.of(there, index.vectors, lambda done: step("looking", done, contents))
        corrects = asked.keep == BEST and not asked.safe
        finder = _Finder(gallery, frozenset(asked.relations), index.decisions(), keeper, corrects, between)
        found, unreadable = finder.groups(step), gallery.unreadable
    safe = _folders(asked.safe)
    found = [_with_kept(group, safe) for group in found]
    wanted = [group for group in found if group.others]
    order = list(Relation)
    wanted.sort(key=lambda group: (order.index(group.tier), os.fsencode(group.head.image.path)))
    return Duplicates(tuple(wanted), tuple(unreadable), sum(image.offline for image in files))


def _with_kept(group: Group, safe: Sequence[str]) -> Group:
    """Return a group in which the files of safe folders are kept, besides the head."""
    if not safe:
        return group
    return Group(tuple(replace(one, is_kept=one.is_kept or _is_below(one.image, safe)) for one in group.members))


def _same_bytes(files: Sequence[IndexedImage], keeper: Keeper, between: Sequence[str] | None) -> list[Group]:
    """Return the groups of files with the same bytes, which are the files of one image."""
    places: dict[int, list[IndexedImage]] = {}
    for image in files:
        places.setdefault(image.id, []).append(image)
    sets = [_across(keeper.sorted(copies), between) for copies in places.values()]
    return [_group(keeper, copies, {}) for copies in sets if len(copies) > 1]


@dataclass(frozen=True)
class _Finder:
    """Finds groups in a gallery."""

    gallery: Gallery
    relations: frozenset[Relation]
    decisions: Decisions
    keeper: Keeper
    corrects: bool
    """Whether a picture that lost its colours or got a border gives way to the original."""
    between: Sequence[str] | None
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
        colour, frame = self.gallery.colour(number), self.gallery.frame(number)
        found = set()
        for other, verdict in belonging:
            is_framed = verdict.because == BORDER and frame > self.gallery.frame(other) + THIN
            is_grey = verdict.relation is Relation.RECOLOURED and colour < GREY < self.gallery.colour(other)
            if is_framed or is_grey:
                found.add(other)
        return found

    def _group_of(self, head: IndexedImage, number: int, belonging: Belonging) -> Group | None:
        of = {}
        for other, verdict in belonging:
            of[self.gallery.images[other].id] = verdict, self._score(number, other)
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
        verdict = compare(one, other, parts=parts and Relation.CROPPED in self.relations)
        if verdict is not None:
            verdict = self._exact(a, b, verdict)
        return verdict if verdict is not None and verdict.relation in self.relations else None

    def _exact(self, a: int, b: int, verdict: Verdict) -> Verdict:
        """Return the verdict, or what the whole pictures tell: the same pixels, or a small part that differs."""
        one, other = self.gallery.subject(a), self.gallery.subject(b)
        if verdict.relation not in {Relation.REENCODED, Relation.RESIZED} or one is None or other is None:
            return verdict
        images = self.gallery.images[a], self.gallery.images[b]
        if same_pixels(*images, (one, other)):
            return Verdict(Relation.SAME_PIXELS, 1.0, "the same pixels")
        if differ_in_detail(*images):
            return Verdict(Relation.EDITED, verdict.agreement, SMALL_PART)
        return verdict

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
    verdicts: dict[int, tuple[Verdict, float]],
    decisions: Decisions | None = None,
) -> Group:
    """Return the group of these files, the head first. `verdicts` has those of other images, by id."""
    head, *others = ordered
    known = decisions or Decisions()
    same = Verdict(Relation.SAME_BYTES, 1.0, "the same bytes"), 1.0
    members = []
    for image in others:
        verdict, score = same if image.id == head.id else verdicts[image.id]
        reason = f"{verdict.because}; {keeper.reason(head, image)}"
        was_removed = known.was_removed(image.sha256, head.sha256)
        members.append(Member(image, verdict.relation, score, reason, was_removed=was_removed))
    order = list(Relation)
    members.sort(key=lambda member: order.index(member.relation or Relation.SAME_BYTES))
    why = keeper.reason(head, others[0])
    return Group((Member(head, None, 1.0, why, is_kept=True), *members))


# -- folders ------------------------------------------------------------------------------------------------------


def _folders(given: Sequence[Folder]) -> list[str]:
    """Return folders as absolute paths without links; raise `BadInput` for one that is no folder."""
    found = []
    for folder in given:
        place = os.path.realpath(os.fsdecode(path_of(folder, "a folder")))
        if not os.path.isdir(place):
            raise BadInput(f"{displayed(folder)} is not a folder")
        found.append(place)
    return found


def _apart(given: Sequence[Folder]) -> list[str]:
    """Return two folders as `_folders` does; raise `BadInput` if one lies in the other."""
    found = _folders(given)
    if os.path.commonpath(found) in found:
        raise BadInput(f"{displayed(found[0])} and {displayed(found[1])} overlap", hint="give two separate folders")
    return found


def _is_below(image: IndexedImage, folders: Sequence[str]) -> bool:
    path = os.fspath(image.path)
    return any(path.startswith(os.path.join(folder, "")) for folder in folders)


def _side(image: IndexedImage, between: Sequence[str]) -> int:
    """Return 1 for a file of the first folder, 2 for one of the second, 0 for another one."""
    return next((number for number, folder in enumerate(between, 1) if _is_below(image, [folder])), 0)


def _across(ordered: Sequence[IndexedImage], between: Sequence[str] | None) -> list[IndexedImage]:
    """Return the first of these files and those of the other folder; all of them if there are no two folders."""
    head, *others = ordered
    if between is None:
        return [head, *others]
    side = _side(head, between)
    return [head, *(image for image in others if _side(image, between) != side)]


def _with_safe(keeper: Keeper, safe: Sequence[str]) -> Keeper:
    """Return rules by which files in safe folders are kept before all others."""
    return keeper if not safe else keeper.preferring("in a safe folder", lambda image: _is_below(image, safe))


def _in_permille(step: Step, share: float) -> None:
    step("finding candidates", round(share * PERMILLE), PERMILLE)
