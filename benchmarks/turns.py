"""Turns and steps on SQLite, every one on the disk when it counts, against the same rows committed bare."""

from __future__ import annotations

import asyncio
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from aos import Agent, AgentOS, Context, on
from aos.message import Message
from aos.stores.records import JournalEntry
from aos.stores.sqlite_file import connect

ROUNDS = 7
SERIAL = 400
AGENTS = 100
EACH = 40
STEPS = 400


class Walker(Agent):
    """Sends itself the next message, a given number of times."""

    key = "who"

    @on("walk")
    async def step(self, event: dict[str, Any], ctx: Context) -> None:
        """One turn: the state changes and a message goes out."""
        ctx.state["n"] = ctx.state.get("n", 0) + 1
        if ctx.state["n"] < event["turns"]:
            await ctx.send(ctx.address, event, topic="walk")


class Stepper(Agent):
    """Records many steps in one turn."""

    @on("steps")
    async def work(self, event: dict[str, int], ctx: Context) -> None:
        """Take as many steps as the event says, one after another."""
        for i in range(event["steps"]):
            await ctx.step("one", _one, i)


async def _one(i: int) -> dict[str, int]:
    return {"i": i}


async def _ours(path: Path, agent: type[Agent], topic: str, payloads: list[dict[str, Any]]) -> float:
    async with AgentOS(f"sqlite:{path}", [agent], seed=1) as system:
        began = time.perf_counter()
        await asyncio.gather(*(system.publish(topic, payload) for payload in payloads))
        await system.settle()
        took = time.perf_counter() - began
        done = await system.agents()
        assert len(done) == len(payloads)
        for record in done:
            assert record.pending == record.dead == 0
    return took


def turns(path: Path, agents: int, each: int) -> float:
    """Seconds for each turn of agents that send themselves messages."""
    payloads = [{"who": f"agent {i}", "turns": each} for i in range(agents)]
    return asyncio.run(_ours(path, Walker, "walk", payloads)) / (agents * each)


def steps(path: Path) -> float:
    """Seconds for each recorded step of one turn."""
    return asyncio.run(_ours(path, Stepper, "steps", [{"steps": STEPS}])) / STEPS


class Bare:
    """The rows of a turn, written by nothing but SQLite in the thread that has them."""

    def __init__(self, path: Path, agents: int) -> None:
        self.connection: sqlite3.Connection = connect(path, synchronous="FULL", wait=5.0)
        self.agents = agents
        self.last = agents
        message = Message(
            "d7ep53hmztpuhcov1a", "Walker/agent 10", "walk", b'{"who":"agent 10","turns":40}', time.time(),
            "Walker/agent 10", causation_id="d7ep53hmztpuhcov19",
        )  # fmt: skip
        self.body = msgspec.msgpack.encode(message)
        self.line = msgspec.msgpack.encode((message.id, "walk", 1, "committed", 0.00003, 1, ""))
        self.state = msgspec.msgpack.encode({"n": 10})
        run = self.connection.execute
        for i in range(agents):
            run("INSERT INTO boxes (id, address, kind, owner) VALUES (?, ?, 'Walker', 1)", (i, f"Walker/agent {i}"))
            run("INSERT INTO messages VALUES (?, ?, 0, NULL, ?)", (i + 1, i, self.body))

    def commit(self) -> None:
        """One turn of each agent, in one transaction."""
        last, n, many = self.last, self.agents, self.connection.executemany
        self.connection.execute("BEGIN IMMEDIATE")
        many("DELETE FROM messages WHERE seq = ?", [(last - n + 1 + i,) for i in range(n)])
        many(
            "UPDATE boxes SET state = ?, schema = ?, turns = ? WHERE id = ?",
            [(self.state, 1, last, i) for i in range(n)],
        )
        many("INSERT INTO messages VALUES (?, ?, ?, ?, ?)", [(last + 1 + i, i, 0.0, None, self.body) for i in range(n)])
        many(
            "INSERT INTO turns VALUES (?, ?, ?, ?)",
            [(last + 1 + i, f"Walker/agent {i}", 1.8e9, self.line) for i in range(n)],
        )
        self.connection.execute("COMMIT")
        self.last += n

    def record(self) -> None:
        """One step's journal entry."""
        self.last += 1
        entry = JournalEntry(
            "one#123", "step", 123, fingerprint=b"12345678", done=True, result=b"\x81\xa1i\x01", at=1.8e9, begun=1.8e9
        )
        self.connection.execute("BEGIN IMMEDIATE")
        self.connection.execute(
            "INSERT INTO journal VALUES (?, ?, ?)", (1, f"one#{self.last}", msgspec.msgpack.encode(entry))
        )
        self.connection.execute("COMMIT")


def bare(path: Path, agents: int, times: int, work: Callable[[Bare], None]) -> float:
    """Seconds for each piece of work."""
    rows = Bare(path, agents)
    began = time.perf_counter()
    for _ in range(times):
        work(rows)
    took = time.perf_counter() - began
    rows.connection.close()
    return took / times


def run() -> dict[str, Any]:
    """The median of rounds in which ours and the bare rows take turns, each on a new file on the same disk."""
    measured: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        for i in range(ROUNDS):
            at = Path(folder)
            single = bare(at / f"single{i}", 1, SERIAL, Bare.commit)
            serial = turns(at / f"serial{i}", 1, SERIAL)
            group = bare(at / f"group{i}", AGENTS, EACH, Bare.commit) / AGENTS
            concurrent = turns(at / f"concurrent{i}", AGENTS, EACH)
            record = bare(at / f"record{i}", 1, STEPS, Bare.record)
            step = steps(at / f"steps{i}")
            for name, value in {
                "serial_x_single_commit": serial / single,
                "concurrent_x_group_commit": group / concurrent,
                "step_x_single_commit": step / record,
                "serial_us": serial * 1e6,
                "single_commit_us": single * 1e6,
                "concurrent_us": concurrent * 1e6,
                "group_commit_us": group * 1e6,
                "step_us": step * 1e6,
                "single_record_us": record * 1e6,
            }.items():
                measured.setdefault(name, []).append(value)
    return {
        **{name: statistics.median(values) for name, values in measured.items()},
        "spread": {name: [min(values), max(values)] for name, values in measured.items()},
    }
