"""A two-step sequential orchestration, without a network: what it costs over two plain awaits.

Peers of the same kind, measured the same way: autogen-core 741 µs, agent-framework 994-3,597, langgraph 1,494.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aos.orchestration import DirectAdapter, SequentialOrchestrator

ROUNDS = 15
"""Measurements of each kind, interleaved, so that a slow moment of the machine hits all of them."""
CALLS = 2000
"""Calls in one measurement."""


class _Agent:
    async def handle_event(self, event: dict[str, Any]) -> str:
        return f"{event['task']} done"


async def _cost(call: Callable[[], Awaitable[object]]) -> float:
    """Microseconds of CPU of one call."""
    began = time.process_time()
    for _ in range(CALLS):
        await call()
    return (time.process_time() - began) / CALLS * 1e6


async def _measure() -> dict[str, Any]:
    first, second = _Agent(), _Agent()
    adapter = DirectAdapter()
    adapter.register_agent("first", first)
    adapter.register_agent("second", second)
    plain = SequentialOrchestrator()
    limited = SequentialOrchestrator(timeout=60, agent_timeout=30)

    async def raw() -> str:
        previous = await first.handle_event({"type": "task", "task": "task", "previous": None, "context": {}})
        return await second.handle_event({"type": "task", "task": "task", "previous": previous, "context": {}})

    result = await plain.execute("task", adapter)
    assert result.success
    assert (result.steps_completed, result.output) == (2, await raw())

    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "raw": raw,
        "two_step": lambda: plain.execute("task", adapter),
        "limited": lambda: limited.execute("task", adapter),
    }
    costs: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            costs[name].append(await _cost(call))
    median = {name: statistics.median(values) for name, values in costs.items()}
    return {
        "two_step_us": round(median["two_step"], 2),
        "raw_us": round(median["raw"], 3),
        "two_step_x_raw": round(median["two_step"] / median["raw"], 1),
        "two_step_limited_us": round(median["limited"], 2),
        "spread": {
            "two_step_us": [min(costs["two_step"]), max(costs["two_step"])],
            "raw_us": [min(costs["raw"]), max(costs["raw"])],
            "two_step_limited_us": [min(costs["limited"]), max(costs["limited"])],
        },
    }


def run() -> dict[str, Any]:
    """Measure.

    Returns:
        `two_step_us`: CPU of one orchestration of two steps, median, in microseconds; `raw_us`: of two awaits of the
        same agents; `two_step_x_raw`: their ratio; `two_step_limited_us`: with time-outs for each agent and for the
        whole; `spread`: the fastest and the slowest measurement of each.
    """
    return asyncio.run(_measure())
