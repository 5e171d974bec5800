"""A hosted agent's turn, with context and state, on the memory store, against an asyncio queue."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from aos import Agent, AgentOS, Context, on

MESSAGES = 20_000


class Counter(Agent):
    """Counts in its state."""

    @on("ticks.>")
    async def tick(self, event: Any, ctx: Context) -> None:
        """Count one."""
        ctx.state["n"] = ctx.state.get("n", 0) + 1


async def agent_turns() -> float:
    """Seconds of CPU for each message published to, handled by and committed for one agent."""
    async with AgentOS("memory:", [Counter], seed=1) as system:
        await system.publish("ticks.a", {"i": 0})
        await system.settle()
        began = time.process_time()
        for i in range(MESSAGES):
            await system.publish("ticks.a", {"i": i})
        await system.settle()
        took = time.process_time() - began
        record: Any = await system.inspect(Counter)
        assert record.state == {"n": MESSAGES + 1}
    return took / MESSAGES


async def queue_messages() -> float:
    """Seconds of CPU for each message put by a producer, got and handled by a consumer."""
    queue: asyncio.Queue[dict[str, int]] = asyncio.Queue(1000)
    counted = 0

    async def handle(event: dict[str, int]) -> None:
        nonlocal counted
        counted += 1

    async def produce() -> None:
        for i in range(MESSAGES):
            await queue.put({"i": i})

    async def consume() -> None:
        for _ in range(MESSAGES):
            await handle(await queue.get())

    began = time.process_time()
    await asyncio.gather(produce(), consume())
    took = time.process_time() - began
    assert counted == MESSAGES
    return took / MESSAGES
