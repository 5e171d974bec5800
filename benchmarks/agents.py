"""What agents cost: in memory while idle, in memory while hibernated, to wake, and on disk as they age."""

from __future__ import annotations

import asyncio
import gc
import statistics
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import Any

import msgspec

from aos import Agent, AgentOS, Context, on
from aos.message import Message

IDLE = 5_000
REGISTERED = 1_000_000
WAKES = 200
TURNS = 2_000


class Customer(Agent):
    """One for each customer."""

    key = "customer"

    @on("orders")
    async def order(self, event: Any, ctx: Context) -> None:
        """Remember the latest order."""
        ctx.state["orders"] = ctx.state.get("orders", 0) + 1
        ctx.state["latest"] = event["order"]


class Diary(Agent):
    """Its state grows by what it hears."""

    state_limit = 4 * 1024 * 1024

    @on("diary")
    async def write(self, event: Any, ctx: Context) -> None:
        """Append a kilobyte."""
        ctx.state.setdefault("entries", []).append(event)


def _traced() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


async def _idle_bytes(folder: str) -> float:
    """Python memory for each agent that is active and has nothing to do, its store's bookkeeping included."""
    async with AgentOS(f"sqlite:{folder}/idle.db", [Customer], idle_after=3600) as system:
        await system.publish("orders", {"customer": "first", "order": 0})
        await system.settle()
        tracemalloc.start()
        before = _traced()
        for i in range(IDLE):
            await system.publish("orders", {"customer": f"customer-{i}", "order": i})
        await system.settle()
        used = _traced() - before
        tracemalloc.stop()
        assert system.statistics().active == IDLE + 1
    return used / IDLE


async def _register(url: str, count: int) -> None:
    """Make agents known: each has a message that is not due yet."""
    async with AgentOS(url, [Customer]) as system:
        now = time.time() + 30 * 86_400
        for start in range(0, count, 5_000):
            await system.store.append(
                [
                    Message(
                        f"m{i}",
                        "benchmark",
                        "orders",
                        msgspec.json.encode({"customer": f"customer-{i}", "order": i}),
                        now,
                        not_before=now,
                    )
                    for i in range(start, start + 5_000)
                ]
            )


async def _resident(url: str) -> int:
    tracemalloc.start()
    async with AgentOS(url, [Customer]) as system:
        await system.settle()
        used = _traced()
        assert system.statistics().active == 0
    tracemalloc.stop()
    return used


async def _wake_seconds(folder: str) -> list[float]:
    """From sending to a hibernated agent until its turn is committed."""
    url = f"sqlite:{folder}/wake.db"
    async with AgentOS(url, [Customer]) as system:
        for i in range(WAKES):
            await system.publish("orders", {"customer": f"customer-{i}", "order": i})
        await system.settle()
    times = []
    async with AgentOS(url, [Customer]) as system:
        for i in range(WAKES):
            began = time.perf_counter()
            await system.publish("orders", {"customer": f"customer-{i}", "order": -i})
            await system.settle()
            times.append(time.perf_counter() - began)
        record: Any = await system.inspect(Customer, "customer-7")
        assert record.state == {"orders": 2, "latest": -7}
    return times


def _file_size(folder: str, name: str) -> int:
    return sum(path.stat().st_size for path in Path(folder).glob(f"{name}.db*") if not path.name.endswith("-shm"))


async def _growth(folder: str) -> tuple[int, int]:
    """Size of the file after a number of turns of agents whose state stays as large, and after three times as many."""
    sizes = []
    for part in (1, 2):
        async with AgentOS(f"sqlite:{folder}/growth.db", [Customer]) as system:
            for i in range(TURNS * part):
                await system.publish("orders", {"customer": f"customer-{i % 10}", "order": i})
            await system.settle()
        sizes.append(_file_size(folder, "growth"))
    return sizes[0], sizes[1]


async def _append_400(folder: str) -> float:
    """Size of the file against the data, for a kilobyte appended to one state 400 times."""
    async with AgentOS(f"sqlite:{folder}/diary.db", [Diary]) as system:
        for _ in range(400):
            await system.publish("diary", "x" * 1024)
            await system.settle()
    return _file_size(folder, "diary") / (400 * 1024)


def run() -> dict[str, Any]:
    """Bytes, microseconds and ratios."""
    with tempfile.TemporaryDirectory() as folder:
        idle = asyncio.run(_idle_bytes(folder))
        asyncio.run(_register(f"sqlite:{folder}/many.db", REGISTERED))
        asyncio.run(_register(f"sqlite:{folder}/none.db", 0))
        asyncio.run(_resident(f"sqlite:{folder}/none.db"))
        empty = asyncio.run(_resident(f"sqlite:{folder}/none.db"))
        full = asyncio.run(_resident(f"sqlite:{folder}/many.db"))
        wakes = sorted(asyncio.run(_wake_seconds(folder)))
        first, third = asyncio.run(_growth(folder))
        appended = asyncio.run(_append_400(folder))
    return {
        "idle_bytes": idle,
        "hibernated_bytes": max(0, round((full - empty) / REGISTERED, 2)),
        "registered": REGISTERED,
        "wake_us": statistics.median(wakes) * 1e6,
        "storage_growth": third / first,
        "append_400_x_data": appended,
        "spread": {"wake_us": [wakes[0] * 1e6, wakes[-1] * 1e6]},
    }
