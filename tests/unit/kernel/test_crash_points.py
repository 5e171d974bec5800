"""A crash before and after each single operation on the store, one after another."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from aos import Agent, AgentOS, Context, on
from aos.resilience import RetryPolicy
from aos.stores import DurableStore
from tests.systems import crash, same

WRITES = ("append", "commit", "record", "release", "claim")


class Halt:
    """Lets a store do a number of writes; the next one is the last, and nobody hears of it.

    Args:
        store: The store.
        allowed: How many writes return.
        done: Whether the last one is done, or only asked for.
    """

    def __init__(self, store: DurableStore, allowed: int, *, done: bool) -> None:
        self._left = allowed
        self._done = done
        self.reached = asyncio.Event()
        for verb in WRITES:
            setattr(store, verb, self._halting(getattr(store, verb)))

    def _halting(self, verb: Callable[..., Any]) -> Callable[..., Any]:
        async def halting(*args: Any, **kwargs: Any) -> Any:
            self._left -= 1
            if self._left >= 0:
                return await verb(*args, **kwargs)
            if self._left == -1 and self._done:
                await verb(*args, **kwargs)
            self.reached.set()
            return await asyncio.get_running_loop().create_future()

        return halting


class Chain(Agent):
    """Does something of everything, and counts it."""

    key = "key"
    retry = RetryPolicy(base=1)

    @on("work")
    async def work(self, event: dict[str, Any], ctx: Context) -> None:
        number = await ctx.step("step", lambda: event["n"])
        if event["n"] == 1 and ctx.attempt == 1:
            raise OSError
        assert await ctx.ask(Echo, number) == number
        await ctx.sleep(20)
        ctx.state.setdefault("did", []).append(number)
        await ctx.schedule(f"t{number}", {"key": ctx.key, "n": number}, topic="ring", after=5)
        await ctx.send(Sink, number)

    @on("ring")
    async def ring(self, event: dict[str, Any], ctx: Context) -> None:
        ctx.state.setdefault("rung", []).append(event["n"])


class Echo(Agent):
    @on()
    async def echo(self, event: int, ctx: Context) -> int:
        ctx.state["asked"] = ctx.state.get("asked", 0) + 1
        return event


class Sink(Agent):
    @on()
    async def sink(self, event: int, ctx: Context) -> None:
        ctx.state.setdefault("got", []).append(event)


AGENTS = (Chain, Echo, Sink)
KINDS = [behaviour.kind for behaviour in AgentOS(agents=AGENTS).runtime.behaviours.values()]
OPTIONS: dict[str, Any] = {"park_for": 3, "idle_after": 6, "lease": 30}


async def _life(store: DurableStore, allowed: int, *, done: bool) -> bool:
    """Live, crash at a point, live on, compare; whether the point was reached."""
    async with AgentOS(same(store)) as outside:
        await outside.store.declare(KINDS, run=False)
        first = AgentOS(same(store), AGENTS, **OPTIONS)
        await first.start()
        halt = Halt(first.store, allowed, done=done)
        for n in range(3):
            await outside.publish("work", {"key": "k", "n": n})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(60):
                await halt.reached.wait()
        await crash(first)
        async with AgentOS(same(store), AGENTS, **OPTIONS) as second:
            await asyncio.sleep(120)
            chain, pending = await second.inspect(Chain, "k"), await second.store.statistics()
            assert chain.state == {"did": [0, 1, 2], "rung": [0, 1, 2]}
            assert (await second.inspect(Sink)).state == {"got": [0, 1, 2]}
            assert (await second.inspect(Echo)).state == {"asked": 3}
            assert (pending.pending, pending.journal, pending.dead) == (0, 0, 0)
    return halt.reached.is_set()


@pytest.mark.parametrize("done", [False, True], ids=["asked", "done"])
async def test_a_crash_at_any_write_loses_and_doubles_nothing(done):
    """Wherever the process dies, the next one goes on so that each effect is there once, in order."""
    from aos.stores.memory import MemoryStore

    point = 0
    while await _life(MemoryStore(), point, done=done):
        point += 1
    assert point > 30


@pytest.mark.slow
@pytest.mark.parametrize("done", [False, True], ids=["asked", "done"])
async def test_a_crash_at_any_write_of_a_file_loses_and_doubles_nothing(done, tmp_path):
    """The same over SQLite, at every third write."""
    from tests.systems import sqlite

    point = 0
    while await _life(sqlite(tmp_path / f"{point}.db"), point, done=done):
        point += 3
    assert point > 30
