"""Two runners on one file: one agent never runs in both, and each takes over from the other."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from aos import AgentOS

DUEL = Path(__file__).with_name("duel.py")
pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.timeout(90)]


class Line(NamedTuple):
    """One line of the log."""

    what: str
    key: str
    number: str
    pid: int
    fence: int


class Arena:
    """A store, its log, and the runners on it."""

    def __init__(self, folder: Path, lease: float) -> None:
        self.url = f"sqlite:{folder / 'aos.db'}"
        self.log = folder / "log"
        self.log.touch()
        command = [sys.executable, str(DUEL), self.url, str(self.log), str(lease)]
        self.runners = [self._start(command, folder / f"{i}.err") for i in range(2)]

    def _start(self, command: list[str], errors: Path) -> subprocess.Popen[bytes]:
        with errors.open("wb") as stream:
            return subprocess.Popen(command, stderr=stream)

    def lines(self) -> list[Line]:
        """What was written so far."""
        rows = [line.split() for line in self.log.read_text().splitlines()]
        return [Line(what, key, number, int(pid), int(fence)) for what, key, number, pid, fence in rows]

    def other(self, pid: int) -> subprocess.Popen[bytes]:
        """The runner that is not this one."""
        return next(runner for runner in self.runners if runner.pid != pid)

    def this(self, pid: int) -> subprocess.Popen[bytes]:
        """The runner of a process id."""
        return next(runner for runner in self.runners if runner.pid == pid)


@contextmanager
def _arena(folder: Path, lease: float) -> Iterator[Arena]:
    arena = Arena(folder, lease)
    try:
        yield arena
    finally:
        for runner in arena.runners:
            with suppress(ProcessLookupError):
                runner.send_signal(signal.SIGCONT)
            runner.terminate()
        for runner in arena.runners:
            runner.wait(20)


@asynccontextmanager
async def _outside(arena: Arena) -> AsyncIterator[AgentOS]:
    """A process that only sends and looks, once both runners run."""
    async with AgentOS(arena.url) as system:
        await _until(lambda: _two_hold(system))
        yield system


async def _two_hold(system: AgentOS) -> bool:
    holders = await system.store.holders()
    return sum("Duel" in holder.kinds for holder in holders) == 2


async def _until(condition, seconds: float = 20.0) -> float:
    """Wait until something is so; returns how long that took."""
    began = time.monotonic()
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - it happens in other processes
            await asyncio.sleep(0.02)
    return time.monotonic() - began


async def _did(system: AgentOS, key: str) -> list[int]:
    record = await system.store.agent(f"Duel/{key}")
    return list((record.state or {}).get("did", [])) if record is not None else []


def _overlaps(lines: list[Line], dead: frozenset[int] = frozenset()) -> list[Line]:
    """Beginnings of an agent while it runs in a process that is not dead."""
    running: dict[str, int] = {}
    found = []
    for line in lines:
        if line.what == "begin":
            if running.get(line.key, 0) and running[line.key] not in dead:
                found.append(line)
            running[line.key] = line.pid
        elif running.get(line.key) == line.pid:
            running[line.key] = 0
    return found


async def test_no_agent_runs_in_both(tmp_path):
    """Two hundred messages for ten agents through two runners: no overlap, each once, in order."""
    with _arena(tmp_path, 10) as arena:
        async with _outside(arena) as system:
            for n in range(200):
                await system.publish("work", {"key": f"k{n % 10}", "n": n, "seconds": 0.002})
            for key in range(10):
                expected = list(range(key, 200, 10))
                await _until(lambda key=key, expected=expected: _is(system, f"k{key}", expected))
        assert _overlaps(arena.lines()) == []
        assert len(arena.lines()) == 400


async def _is(system: AgentOS, key: str, expected: list[int]) -> bool:
    return await _did(system, key) == expected


async def _begun(arena: Arena, number: int) -> bool:
    return any(line.number == str(number) for line in arena.lines())


async def test_a_killed_runner_is_replaced_at_once(tmp_path):
    """With a lease of a minute the other one takes over in seconds, since the process is gone."""
    with _arena(tmp_path, 60) as arena:
        async with _outside(arena) as system:
            await system.publish("work", {"key": "k", "n": 1, "seconds": 3})
            await system.publish("work", {"key": "k", "n": 2, "seconds": 0})
            await _until(lambda: _begun(arena, 1))
            victim = arena.lines()[0].pid
            arena.this(victim).kill()
            arena.this(victim).wait()
            assert await _until(lambda: _took_over(arena, victim)) < 25
            await _until(lambda: _is(system, "k", [1, 2]))
        lines = arena.lines()
        assert _overlaps(lines, frozenset({victim})) == []
        assert lines[-1].fence != lines[0].fence


async def _took_over(arena: Arena, victim: int) -> bool:
    return any(line.pid != victim for line in arena.lines())


async def test_a_stopped_process_is_replaced_within_the_lease_and_cannot_commit(tmp_path):
    """SIGSTOP in the middle of a turn: the other takes over; after SIGCONT the stale outcome is refused."""
    lease = 2.0
    with _arena(tmp_path, lease) as arena:
        async with _outside(arena) as system:
            await system.publish("work", {"key": "k", "n": 1, "seconds": 1})
            await _until(lambda: _begun(arena, 1))
            stale = arena.lines()[0].pid
            arena.this(stale).send_signal(signal.SIGSTOP)
            assert await _until(lambda: _took_over(arena, stale)) < 2 * lease + 1
            await _until(lambda: _is(system, "k", [1]))
            arena.this(stale).send_signal(signal.SIGCONT)
            await _until(lambda: _told(tmp_path, arena, stale))
            for n in range(2, 22):
                await system.publish("work", {"key": f"k{n}", "n": n, "seconds": 0.01})
            for n in range(2, 22):
                await _until(lambda n=n: _is(system, f"k{n}", [n]))
            assert await _did(system, "k") == [1]
            record = await system.inspect("Duel/k")
            assert (record.turns, record.pending) == (1, 0)
            assert await _two_hold(system)


async def _told(folder: Path, arena: Arena, pid: int) -> bool:
    """Whether a runner said that it was taken over from."""
    number = next(i for i, runner in enumerate(arena.runners) if runner.pid == pid)
    return "another process took over" in (folder / f"{number}.err").read_text()


async def test_a_runner_that_is_asked_to_stop_hands_its_agents_over(tmp_path):
    """After SIGTERM the other one goes on at once, and the first exits with status 0."""
    with _arena(tmp_path, 60) as arena:
        async with _outside(arena) as system:
            for n in range(1, 6):
                await system.publish("work", {"key": "k", "n": n, "seconds": 0.3})
            await _until(lambda: _begun(arena, 1))
            first = arena.lines()[0].pid
            arena.this(first).terminate()
            assert arena.this(first).wait(10) == 0
            await _until(lambda: _is(system, "k", [1, 2, 3, 4, 5]))
        assert _overlaps(arena.lines()) == []
        assert {line.pid for line in arena.lines()} == {first, arena.other(first).pid}
