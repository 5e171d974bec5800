"""What the bus in memory costs over asyncio's own queues, and a hosted agent's turn over the same.

Both sides do the same work in the same run, taking turns round by round. A ratio is the median of the rounds' ratios.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Coroutine
from typing import Any

from aos.messaging import MessageBus
from benchmarks import agent_turn, raw

ROUNDS = 15
MESSAGES = 20_000
REQUESTS = 4_000
CONSUMERS = 100
FANOUT = 100

Measure = Callable[[], Coroutine[Any, Any, float]]


async def publish(messages: int) -> float:
    """Seconds of CPU from `publish` to the end of the handler, for each message."""
    got = 0

    async def handle(_: Any) -> None:
        nonlocal got
        got += 1

    async with MessageBus() as bus:
        await bus.subscribe("measured", handle)
        began = time.process_time()
        for number in range(messages):
            await bus.publish("measured", number)
        await bus.settle()
        took = time.process_time() - began
    assert got == messages
    return took / messages


async def request(messages: int) -> float:
    """Seconds of CPU for each request, one at a time, with a time-out on each."""

    async def answer(number: int) -> int:
        return number

    async with MessageBus() as bus:
        await bus.subscribe("measured", answer)
        began = time.process_time()
        for number in range(1, messages + 1):
            assert await bus.request("measured", number, timeout=30) == number
        took = time.process_time() - began
    return took / messages


async def fanout(messages: int, consumers: int, *, pause: bool) -> float:
    """Seconds of CPU for each delivery of messages that all subscriptions hear."""
    got = 0

    async def handle(_: Any) -> None:
        nonlocal got
        got += 1

    async with MessageBus() as bus:
        for _ in range(consumers):
            await bus.subscribe("measured", handle)
        began = time.process_time()
        for number in range(messages):
            await bus.publish("measured", number)
            if pause:
                await asyncio.sleep(0)
        await bus.settle()
        took = time.process_time() - began
    assert got == messages * consumers
    return took / messages / consumers


PAIRS: dict[str, tuple[Measure, Measure]] = {
    "publish_to_handler_x_queue": (lambda: publish(MESSAGES), lambda: raw.queue(MESSAGES)),
    "publish_to_handler_x_unbounded_queue": (lambda: publish(MESSAGES), lambda: raw.queue(MESSAGES, 0)),
    "request_reply_x_raw": (lambda: request(REQUESTS), lambda: raw.request_reply(REQUESTS)),
    "fanout_x_raw": (
        lambda: fanout(FANOUT, CONSUMERS, pause=True),
        lambda: raw.fanout(FANOUT, CONSUMERS, pause=True),
    ),
    "fanout_streaming_x_raw": (
        lambda: fanout(FANOUT, CONSUMERS, pause=False),
        lambda: raw.fanout(FANOUT, CONSUMERS, pause=False),
    ),
    "agent_turn_x_queue": (agent_turn.agent_turns, agent_turn.queue_messages),
}


def run() -> dict[str, Any]:
    """Measure.

    Returns:
        For each pair the ratio, the microseconds of CPU of both sides, and the spread of the ratio over the rounds.
    """
    ratios: dict[str, list[float]] = {name: [] for name in PAIRS}
    ours: dict[str, list[float]] = {name: [] for name in PAIRS}
    limits: dict[str, list[float]] = {name: [] for name in PAIRS}
    for _ in range(ROUNDS):
        for name, (measure, limit) in PAIRS.items():
            ours[name].append(asyncio.run(measure()) * 1e6)
            limits[name].append(asyncio.run(limit()) * 1e6)
            ratios[name].append(ours[name][-1] / limits[name][-1])
    result: dict[str, Any] = {name: round(statistics.median(values), 3) for name, values in ratios.items()}
    for name in PAIRS:
        short = name.partition("_x_")[0]
        result.setdefault(f"{short}_us", round(statistics.median(ours[name]), 3))
        result[f"{name.replace('_x_', '_')}_us"] = round(statistics.median(limits[name]), 3)
    result["spread"] = {name: [round(min(values), 3), round(max(values), 3)] for name, values in ratios.items()}
    return result
