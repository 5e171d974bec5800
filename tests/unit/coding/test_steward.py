"""The agents that review a folder, on a store in memory, with a bench that counts."""

import asyncio
from functools import partial

import msgspec
import pytest

from aos.agents import AgentOS
from aos.coding import Issue, events
from aos.coding import steward as steward_room
from aos.coding import watcher as watcher_room
from aos.coding.archive import UNKNOWN, Archive
from aos.coding.events import FileChanged, Scan, Touched
from aos.coding.folder import digest
from aos.coding.measure import MeasurementFailed
from aos.coding.metrics import metrics_of
from aos.coding.reviewer import FileState, Reviewer
from aos.coding.steward import HTML, MARKDOWN, Steward, StewardState
from aos.coding.watcher import Watcher, watch
from aos.resilience import RetryPolicy


class CountingBench:
    """Finds one issue for each line, counts its measurements, and fails for files called `broken.py`."""

    def __init__(self):
        self.measured = []
        self.before = lambda path: None

    async def measure(self, path, content):
        """Measure."""
        self.before(path)
        self.measured.append(path)
        if path == "broken.py":
            raise MeasurementFailed("the tool died")
        return metrics_of([Issue("X1", line) for line in content.decode().splitlines()], lines=100)


class Team:
    """A folder with the three agents that review it."""

    def __init__(self, system, root, out):
        self.system, self.root, self.out = system, root, out
        self.bench, self.archive = CountingBench(), Archive(system)

    def write(self, **files):
        """Write `name="content"` as `name.py`; None removes it."""
        for name, content in files.items():
            path = self.root / f"{name}.py"
            path.unlink() if content is None else path.write_text(content)

    async def scan(self):
        """Look at every file, and wait until all is reviewed."""
        await self.system.ask(Watcher, Scan(), topic=events.SCAN)
        await self.system.settle()

    async def touch(self, *paths):
        """Tell of changes, and wait until they are reviewed."""
        await self.system.publish(events.TOUCHED, Touched(list(paths)))
        await self.system.settle()

    async def state(self, path):
        """What the reviewer of a file remembers."""
        return msgspec.convert((await self.system.inspect(Reviewer, path)).state, FileState)

    async def steward(self):
        """What the steward remembers."""
        return msgspec.convert((await self.system.inspect(Steward)).state, StewardState)


@pytest.fixture
async def team(tmp_path, monkeypatch):
    """A running team over an empty folder; failed messages are tried again at once."""
    root, out = tmp_path / "src", tmp_path / "out"
    root.mkdir()
    monkeypatch.setattr(Reviewer, "retry", RetryPolicy(base=0.001))
    system = AgentOS("memory:")
    team = Team(system, root, out)
    await system.register(Watcher, make=partial(Watcher, root=root, known=team.archive.hashes))
    await system.register(Reviewer, make=partial(Reviewer, root=root, bench=team.bench))
    await system.register(Steward, make=partial(Steward, root=root, out=out, records=team.archive.records))
    async with system:
        yield team


async def test_a_pass_reviews_every_file_once(team):
    """Each file is measured once, is in the report, and the pass adds up."""
    team.write(a="one\n", b="one\ntwo\n", c="")
    await team.scan()
    current = (await team.steward()).current
    assert sorted(team.bench.measured) == ["a.py", "b.py", "c.py"]
    assert (current.total, current.announced, current.done, current.reviewed) == (3, 3, 3, 3)
    assert current.finished
    for name in (MARKDOWN, HTML):
        assert all(path in (team.out / name).read_text() for path in ("a.py", "b.py", "c.py"))


async def test_a_second_pass_wakes_nobody(team):
    """When nothing has changed, no reviewer has a turn and nothing is measured."""
    team.write(a="one\n", b="two\n")
    await team.scan()
    before = [(agent.address, agent.turns) for agent in await team.system.agents(kind="Reviewer")]
    await team.scan()
    after = [(agent.address, agent.turns) for agent in await team.system.agents(kind="Reviewer")]
    current = (await team.steward()).current
    assert (len(team.bench.measured), before) == (2, after)
    assert (current.number, current.unchanged, current.announced, current.finished) == (2, 2, 0, True)


async def test_an_empty_folder_has_a_report(team):
    """A pass over nothing ends, with a report that says zero."""
    await team.scan()
    assert (await team.steward()).current.finished
    assert "0 files" in (team.out / MARKDOWN).read_text()


async def test_a_reviewer_says_what_changed(team):
    """A review after a change names what is gone and what is new, and history has both."""
    team.write(a="one\ntwo\n")
    await team.scan()
    team.write(a="two\nthree\nfour\n")
    await team.touch("a.py")
    state = await team.state("a.py")
    assert state.change.text == "worse: 0.77 → 0.69, gone: X1 one, new: X1 three; X1 four"
    assert [(look.hash, look.total) for look in state.looks] == [
        (digest(b"one\ntwo\n"), 2),
        (digest(b"two\nthree\nfour\n"), 3),
    ]


async def test_the_same_content_is_reviewed_once(team):
    """Being told of the same content again, or of a touch without a change, measures nothing."""
    team.write(a="one\n")
    await team.scan()
    await team.system.publish(events.CHANGED, FileChanged("a.py", digest(b"one\n")))
    await team.touch("a.py")
    assert team.bench.measured == ["a.py"]
    assert (await team.state("a.py")).reviews == 1


async def test_a_review_is_of_what_was_measured(team):
    """Content that moved on since it was announced is reviewed as it is now, under its own hash."""
    team.write(a="new\n")
    await team.system.publish(events.CHANGED, FileChanged("a.py", digest(b"old\n")))
    await team.system.settle()
    assert (await team.state("a.py")).hash == digest(b"new\n")
    await team.scan()
    assert team.bench.measured == ["a.py"]


async def test_history_is_bounded(team):
    """Only the latest twenty reviews are remembered one by one; all are counted."""
    for n in range(25):
        team.write(a=f"{n}\n")
        await team.touch("a.py")
    state = await team.state("a.py")
    assert (state.reviews, len(state.looks), state.looks[-1].hash) == (25, 20, digest(b"24\n"))


async def test_a_removed_file_leaves_the_report(team):
    """A file that is gone is not reported, and is as before when it comes back unchanged."""
    team.write(a="one\n", b="two\n")
    await team.scan()
    team.write(a=None)
    await team.touch("a.py")
    assert [record.path for record in await team.archive.records()] == ["b.py"]
    team.write(a="one\n")
    await team.scan()
    assert [record.path for record in await team.archive.records()] == ["a.py", "b.py"]
    assert (await team.state("a.py")).reviews == 1


async def test_a_removed_file_is_missed_by_a_pass(team):
    """A removal that nobody told of is found by the next pass."""
    team.write(a="one\n", b="two\n")
    await team.scan()
    team.write(a=None)
    await team.scan()
    assert (await team.state("a.py")).removed
    assert "a.py" not in (team.out / MARKDOWN).read_text()


async def test_a_folder_that_comes_or_goes_is_one_event(team):
    """Renaming a folder removes all files under the old name and reviews all under the new."""
    (team.root / "old").mkdir()
    for name in ("a.py", "b.py"):
        (team.root / "old" / name).write_text("one\n")
    await team.scan()
    (team.root / "old").rename(team.root / "new")
    await team.touch("old", "new")
    assert [record.path for record in await team.archive.records()] == ["new/a.py", "new/b.py"]


async def test_a_file_that_was_never_seen_is_not_removed(team):
    """An editor's passing file makes no reviewer."""
    await team.touch("4913.py", "gone")
    assert await team.system.agents(kind="Reviewer") == []


async def test_a_vanished_file_ends_its_announcement(team):
    """A file that is gone before its review is counted, and is not in the report."""
    team.write(a="one\n", b="two\n")
    team.bench.before = lambda path: path == "a.py" and team.write(b=None)
    await team.system.publish(events.CHANGED, FileChanged("gone.py", "1", 0))
    await team.scan()
    assert (await team.steward()).current.finished
    assert (await team.state("gone.py")).removed


async def test_a_tool_that_dies_is_reported_and_tried_again(team):
    """Three failures make a review that says so, the pass ends, and the next one measures again."""
    team.write(broken="one\n", a="one\n")
    third = asyncio.Event()
    team.bench.before = lambda path: team.bench.measured.count(path) == 2 and third.set()
    await team.scan()
    await third.wait()
    await team.system.settle()
    assert team.bench.measured.count("broken.py") == 3
    assert (await team.steward()).current.failed == 1
    assert (await team.archive.hashes())["broken.py"] == UNKNOWN
    assert "not-measured the tool died" in (team.out / MARKDOWN).read_text()
    await team.scan()
    assert team.bench.measured.count("broken.py") > 3


async def test_an_unreadable_file_is_reported(team, monkeypatch):
    """A file without rights has score 0 and the reason, once."""

    def refuse(root, path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("aos.coding.reviewer.read", refuse)
    monkeypatch.setattr("aos.coding.folder.read", refuse)
    team.write(a="one\n")
    await team.scan()
    await team.scan()
    (record,) = await team.archive.records()
    assert (record.score, record.findings[0].message) == (0.0, "cannot be read: Permission denied")
    assert (await team.state("a.py")).reviews == 1


async def test_a_large_pass_goes_in_parts(team, monkeypatch):
    """A pass over many files announces a part at a time, never more than are allowed ahead."""
    monkeypatch.setattr(watcher_room, "_PART", 5)
    monkeypatch.setattr(steward_room, "_AHEAD", 3)
    team.write(**{f"f{n:02}": f"{n}\n" for n in range(33)})
    waiting = []
    team.bench.before = lambda path: waiting.append(team.system.statistics().waiting)
    await team.scan()
    current = (await team.steward()).current
    assert (current.total, current.done, current.finished) == (33, 33, True)
    assert sorted(team.bench.measured) == [f"f{n:02}.py" for n in range(33)]
    assert max(waiting) <= 5 + 3


async def test_a_newer_pass_takes_over(team, monkeypatch):
    """Two scans at once review every file once, and the later one is finished."""
    monkeypatch.setattr(watcher_room, "_PART", 2)
    team.write(**{f"f{n}": f"{n}\n" for n in range(9)})
    await team.system.publish(events.SCAN, Scan())
    await team.scan()
    assert len(team.bench.measured) == 9
    assert ((await team.steward()).current.number, (await team.steward()).current.finished) == (2, True)


async def test_many_reviews_put_off_one_report(team):
    """Outside of a pass the report waits for more: a burst of reviews sets one timer."""
    team.write(**{f"f{n}": f"{n}\n" for n in range(30)})
    await team.touch(*(f"f{n}.py" for n in range(30)))
    assert (await team.steward()).put_off
    assert not team.out.exists()
    assert [message.name for message in await team.system.store.pending("Steward")] == ["report"]


async def test_a_change_of_what_git_ignores_begins_a_pass(team):
    """A touched `.gitignore` may concern every file."""
    team.write(a="one\n")
    await team.touch(".gitignore")
    assert (await team.steward()).current.number == 1
    assert team.bench.measured == ["a.py"]


async def test_the_steward_stays_small(team):
    """The steward's and the watcher's states do not grow with the files."""
    team.write(**{f"f{n:03}": f"{n}\n" for n in range(120)})
    await team.scan()
    for kind in ("Steward", "Watcher"):
        assert len(msgspec.msgpack.encode((await team.system.inspect(kind)).state)) < 5000


async def test_a_saved_file_is_noticed(tmp_path):
    """A file that is written, and one in a new folder, are told; what is hidden is not."""
    root = tmp_path.resolve()
    told: asyncio.Queue[str] = asyncio.Queue()

    async def touched(event):
        for path in event.paths:
            await told.put(path)

    ready = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(watch(root, touched, ready=ready, debounce=0.01))
        await ready.wait()
        (root / ".aos").mkdir()
        (root / ".aos" / "x.py").write_text("hidden\n")
        (root / "a.py").write_text("one\n")
        assert await told.get() == "a.py"
        (root / "made").mkdir()
        while await told.get() != "made":
            pass
        watching.cancel()
