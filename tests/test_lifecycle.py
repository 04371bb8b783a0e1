"""Any sequence of adding, changing, moving, vanishing, returning and removing, against a simple model."""

import os
import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from retrieval import Index
from tests.fakes import ColourEncoder, colour, picture, put

NAMES = st.sampled_from(["a.png", "b.png", "c.png", "d/a.png", "d/b.png", "d/e/a.png", "x\n.png", "z-1.png"])
CONTENTS = st.integers(0, 5)


class Lifecycle(RuleBasedStateMachine):
    """The model: what lies in the folder, and which contents the index must know where, and which as offline."""

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp())
        self.root = self.home / "photos"
        self.away = self.home / "unplugged"
        self.disk: dict[str, int] = {}
        self.known: dict[str, int] = {}
        self.offline: set[str] = set()
        self.clock = 0
        self.encoder = ColourEncoder()
        self.embedded: set[int] = set()

    @initialize(contents=st.dictionaries(NAMES, CONTENTS, min_size=4))
    def make(self, contents: dict[str, int]) -> None:
        self.root.mkdir()
        self.index = Index.create(self.home / "index", encoder=self.encoder)
        self.write(contents)
        self.add(prune=False)

    def teardown(self) -> None:
        self.index.close()
        shutil.rmtree(self.home)

    @rule(contents=st.dictionaries(NAMES, CONTENTS, min_size=1))
    def write(self, contents: dict[str, int]) -> None:
        for name, content in contents.items():
            self.clock += 1
            put(self.root / name, picture(colour(content)))
            os.utime(self.root / name, ns=(self.clock, self.clock))
            self.disk[name] = content

    @rule(names=st.sets(NAMES, min_size=1))
    def delete(self, names: set[str]) -> None:
        for name in names:
            (self.root / name).unlink(missing_ok=True)
            self.disk.pop(name, None)

    @rule(old=NAMES, new=NAMES)
    def move(self, old: str, new: str) -> None:
        if old in self.disk and old != new:
            (self.root / new).parent.mkdir(parents=True, exist_ok=True)
            (self.root / old).replace(self.root / new)
            self.disk[new] = self.disk.pop(old)

    @rule(name=NAMES)
    def remove(self, name: str) -> None:
        if name in self.known:
            assert self.index.remove(self.root / name).removed == 1
            del self.known[name]
            self.offline.discard(name)

    @rule()
    def update(self) -> None:
        self.add(prune=False)

    @rule()
    def update_with_the_disk_unplugged(self) -> None:
        self.root.rename(self.away)
        self.add(prune=False)
        self.the_index_knows_what_the_model_knows()
        self.away.rename(self.root)

    @rule(kept=st.sets(NAMES, min_size=1, max_size=4))
    def update_after_a_disaster(self, kept: set[str]) -> None:
        self.delete(set(self.disk) - kept)
        self.add(prune=False)

    @rule()
    def prune(self) -> None:
        self.add(prune=True)

    def add(self, *, prune: bool) -> None:
        plugged = self.root.exists()
        report = self.index.add(self.root, prune=prune)
        there = self.disk if plugged else {}
        missing = {name for name in self.known if name not in there}
        arrived = [content for name, content in there.items() if name not in self.known]
        away = missing & self.offline  # until they are seen again: their content elsewhere is a copy
        moved = set()
        for name in sorted(missing - away) if plugged else ():
            if self.known[name] in arrived:
                arrived.remove(self.known[name])
                moved.add(name)
        missing -= moved
        vanished = missing - away
        believed = plugged and os.listdir(self.root) and 2 * len(vanished) <= len(self.known) - len(self.offline)
        kept = set() if prune else away if believed else missing
        assert (report.moved, report.gone, report.offline) == (len(moved), len(missing - kept), len(kept))
        self.known = {name: self.known[name] for name in kept} | there
        self.offline = kept
        assert self.index.verify().damage == ()

    @rule()
    def compact(self) -> None:
        self.index.compact()

    @rule()
    def reopen(self) -> None:
        self.index.close()
        self.index = Index.open(self.home / "index", encoder=self.encoder)

    @invariant()
    def the_index_knows_what_the_model_knows(self) -> None:
        if not hasattr(self, "index"):
            return
        matches = self.index.search(picture((200, 100, 50), (3, 3)), k=100)
        found = {}
        for match in matches:
            for path in (match.path, *match.copies):
                found[str(path.relative_to(self.root))] = match.id
        contents: dict[int, set[int]] = {}
        for name, id_ in found.items():
            contents.setdefault(id_, set()).add(self.known[name])
        assert found.keys() == self.known.keys()
        assert all(len(some) == 1 for some in contents.values())  # one id, one content ...
        assert len(contents) == len(set(self.known.values()))  # ... and one content, one id
        facts = self.index.info()
        assert facts.images == len(contents)
        all_offline = {self.known[name] for name in self.offline} - {
            content for name, content in self.known.items() if name not in self.offline
        }
        assert facts.offline == len(all_offline)


TestLifecycle = Lifecycle.TestCase
TestLifecycle.settings = settings(
    max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
