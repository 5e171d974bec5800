"""Real processes killed with SIGKILL at random moments: nothing is lost, nothing happens twice, order is kept."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from aos.stores.sqlite import SqliteStore

LIVES = Path(__file__).with_name("lives.py")
SENDERS, KEYS = ("s1", "s2"), ("a", "b", "c")


def _start(role: str, url: str, folder: Path, *, seed: int = 0, number: int = 0, total: int = 0) -> Any:
    command = [sys.executable, str(LIVES), role, url, str(folder), str(seed), str(number)]
    return subprocess.Popen(command, env={**os.environ, "AOS_TEST_MESSAGES": str(total)})


def _run(role: str, url: str, folder: Path, number: int = 0) -> None:
    assert _start(role, url, folder, number=number).wait(100) == 0


async def _states(path: Path) -> tuple[dict[str, Any], Any, Any]:
    store = SqliteStore(path)
    await store.open()
    states = {agent.address: agent.state or {} for agent in await store.agents()}
    dead, statistics = await store.dead_letters(), await store.statistics()
    await store.close()
    return states, dead, statistics


async def _survive(folder: Path, seed: int, kills: int, runners: int = 1) -> None:
    """Kill runners and producers, let the rest be done, and count."""
    url = f"sqlite:{folder / 'aos.db'}"
    _run("drain", url, folder)  # makes the file and declares the agents
    total = 100_000
    killers = [_start("kill-runner", url, folder, seed=seed + i, number=kills, total=total) for i in range(runners)]
    killers.append(_start("kill-producer", url, folder, seed=seed + 100, number=kills, total=total))
    assert [killer.wait(900) for killer in killers] == [0] * len(killers)
    sent = {sender: (folder / sender).stat().st_size for sender in SENDERS}
    total = max(sent.values()) + 5
    _run("producer", url, folder, total)
    _run("drain", url, folder)
    states, dead, statistics = await _states(folder / "aos.db")
    assert [letter.reason for letter in dead] == []
    assert (statistics.pending, statistics.journal) == (0, 0)
    expected = Counter(KEYS[n % len(KEYS)] for n in range(1, total + 1) for _ in SENDERS)
    kinds = Counter((KEYS[n % len(KEYS)], n % 7) for n in range(1, total + 1) for _ in SENDERS)
    for key in KEYS:
        ledger = states[f"Ledger/{key}"]
        assert "wrong" not in ledger
        assert ledger["done"] == expected[key]
        assert ledger.get("rung", 0) == kinds[key, 5]
    assert {sender: states[f"Sink/{sender}"]["n"] for sender in SENDERS} == dict.fromkeys(SENDERS, total)
    assert states["Echo"]["asked"] == sum(count for (_, kind), count in kinds.items() if kind == 3)
    assert "CRITICAL" not in (folder / "runner.log").read_text()


@pytest.mark.acceptance
@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_nothing_is_lost_or_done_twice_over_a_hundred_kills(tmp_path, seed):
    """Runners and producers die at random moments; each accepted message has had its effects once, in order."""
    await _survive(tmp_path, seed, kills=120)


@pytest.mark.acceptance
@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_two_runners_at_once_that_are_killed_again_and_again(tmp_path):
    """The same holds where two processes share the agents and each dies on its own."""
    await _survive(tmp_path, 50, kills=100, runners=2)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(1000, 1010))
async def test_thousands_of_kills(tmp_path, seed):
    """The same for as long as one cares to run it."""
    await _survive(tmp_path, seed, kills=1000, runners=1 + seed % 2)
