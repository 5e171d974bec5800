"""Two systems on one store: never the same agent at once, takeover, and what becomes of the stale one."""

import asyncio
from typing import Any

import pytest

from aos import Agent, AgentOS, Context, on
from aos.errors import AskFailed
from tests.systems import Frozen, crash, same


class Log:
    """What agents of all systems of a test did."""

    def __init__(self) -> None:
        self.inside: dict[str, int] = {}
        self.overlaps = 0
        self.begun: list[Any] = []
        self.ended: list[Any] = []


def _worker(log: Log, seconds: float = 1.0) -> type[Agent]:
    class Worker(Agent):
        key = "who"

        @on("work")
        async def work(self, event: dict[str, Any], ctx: Context) -> None:
            log.inside[ctx.key] = log.inside.get(ctx.key, 0) + 1
            log.overlaps += log.inside[ctx.key] > 1
            log.begun.append(event["i"])
            try:
                await asyncio.sleep(seconds)
            finally:
                log.inside[ctx.key] -= 1
            log.ended.append(event["i"])
            ctx.state.setdefault("did", []).append(event["i"])

    return Worker


async def test_two_systems_share_the_work_and_never_run_one_agent_at_once(store):
    """Messages that come in through both are handled once, one at a time for each agent, in order."""
    log = Log()
    worker = _worker(log, 0.1)
    async with AgentOS(same(store), [worker]) as first, AgentOS(store, [worker]) as second:
        for i in range(60):
            await (first if i % 2 else second).publish("work", {"who": f"k{i % 3}", "i": i})
        await asyncio.sleep(60)
        for key in range(3):
            did = (await first.inspect("Worker", f"k{key}")).state["did"]
            assert sorted(did) == list(range(key, 60, 3))
            for parity in (0, 1):
                mine = [i for i in did if i % 2 == parity]
                assert mine == sorted(mine)
    assert log.overlaps == 0
    assert sorted(log.begun) == list(range(60))


async def test_an_idle_agent_moves_to_the_system_that_needs_it(store):
    """What one gave up, the other runs with its state."""
    log = Log()
    worker = _worker(log)
    async with AgentOS(same(store), [worker], idle_after=4) as first:
        await first.publish("work", {"who": "a", "i": 1})
        await asyncio.sleep(20)
        async with AgentOS(store, [worker]) as second:
            await second.publish("work", {"who": "a", "i": 2})
            await asyncio.sleep(5)
            assert (await second.inspect("Worker", "a")).state == {"did": [1, 2]}
            assert first.statistics().committed == second.statistics().committed == 1


async def test_after_a_crash_the_other_takes_over_within_the_lease(store):
    """The turn that was running and what waited behind it are done by the other, in order."""
    log = Log()
    worker = _worker(log, 5)
    async with AgentOS(store, [worker], lease=10) as second:
        first = AgentOS(same(store), [worker], lease=10)
        await first.start()
        for i in range(3):
            await first.publish("work", {"who": "a", "i": i})
        await asyncio.sleep(2)
        await crash(first)
        crashed_at = asyncio.get_running_loop().time()
        await asyncio.sleep(14)
        assert asyncio.get_running_loop().time() - crashed_at <= 15
        assert log.begun[:2] == [0, 0]
        await asyncio.sleep(30)
        assert (await second.inspect("Worker", "a")).state == {"did": [0, 1, 2]}
    assert log.overlaps == 0


async def test_a_frozen_system_loses_its_agents_and_its_outcome(store):
    """The turn of a process that was stopped too long is discarded, and its successor's counts."""
    log = Log()
    worker = _worker(log, 5)
    first = AgentOS(same(store), [worker], lease=10)
    await first.start()
    await first.publish("work", {"who": "a", "i": 1})
    await asyncio.sleep(1)
    frozen = Frozen(first)
    async with AgentOS(store, [worker], lease=10) as second:
        await asyncio.sleep(30)
        assert (await second.inspect("Worker", "a")).state == {"did": [1]}
        await second.publish("work", {"who": "a", "i": 2})
        await asyncio.sleep(10)
        frozen.thaw()
        await asyncio.sleep(10)
        record = await second.inspect("Worker", "a")
        assert (record.state, record.turns) == ({"did": [1, 2]}, 2)
        await first.publish("work", {"who": "b", "i": 3})
        await second.publish("work", {"who": "c", "i": 4})
        await asyncio.sleep(20)
        assert (await second.inspect("Worker", "b")).state == {"did": [3]}
        assert (await second.inspect("Worker", "c")).state == {"did": [4]}
        assert first.statistics().committed + second.statistics().committed == 4
        await first.stop()


async def test_a_thawed_system_loses_no_message_that_it_accepts(store):
    """What comes in through a process whose lease is over, before it knows, is handled all the same."""
    log = Log()
    worker = _worker(log, 1)
    first = AgentOS(same(store), [worker], lease=10)
    await first.start()
    await asyncio.sleep(1)
    frozen = Frozen(first)
    async with AgentOS(store, [worker], lease=10) as second:
        await asyncio.sleep(30)
        frozen.thaw()
        for i in range(5):
            await first.publish("work", {"who": f"k{i}", "i": i})
        await asyncio.sleep(120)
        assert sorted(log.ended) == [0, 1, 2, 3, 4]
        for i in range(5):
            assert (await second.inspect("Worker", f"k{i}")).state == {"did": [i]}
        await first.stop()


async def test_a_thawed_turn_that_will_not_be_cancelled_cannot_commit(store):
    """A stale handler that goes on under the new lease of its own process changes nothing."""

    class Stubborn(Agent):
        @on("add")
        async def add(self, event: int, ctx: Context) -> None:
            ctx.state["sum"] = ctx.state.get("sum", 0) + event
            for _ in range(60 if event == 1 and not swallowed else 1):
                try:
                    await asyncio.sleep(1)
                except asyncio.CancelledError:
                    swallowed.append(event)

    swallowed: list[int] = []
    first = AgentOS(same(store), [Stubborn], lease=10)
    await first.start()
    await first.publish("add", 1)
    await asyncio.sleep(1)
    frozen = Frozen(first)
    second = AgentOS(same(store), [Stubborn], lease=10)
    await second.start()
    await second.publish("add", 10)
    await asyncio.sleep(16)
    await crash(second)
    frozen.thaw()
    await asyncio.sleep(200)
    record = await first.inspect(Stubborn)
    assert (record.state, record.turns, record.pending) == ({"sum": 11}, 2, 0)
    await first.stop()


async def test_who_asked_is_told_when_its_process_lost_the_store(store):
    """An answer that cannot come any more is an error, not a wait for ever."""

    class Slow(Agent):
        @on()
        async def go(self, event: Any) -> int:
            await asyncio.sleep(20)
            return 1

    first = AgentOS(same(store), [Slow], lease=10)
    await first.start()
    asking = asyncio.get_running_loop().create_task(first.ask(Slow, {}, timeout=None))
    await asyncio.sleep(1)
    frozen = Frozen(first)
    async with AgentOS(store, [Slow], lease=10):
        await asyncio.sleep(60)
        frozen.thaw()
        with pytest.raises(AskFailed, match="lost its hold"):
            await asking
        await asyncio.sleep(5)
        assert await first.ask(Slow, {}, timeout=60) == 1
        await first.stop()


async def test_only_a_system_that_has_the_code_runs_an_agent(store):
    """A message for agents of the other process waits for it."""
    log = Log()
    worker = _worker(log)
    async with AgentOS(same(store), [worker]):
        pass
    async with AgentOS(same(store), []) as without:
        assert await without.publish("work", {"who": "a", "i": 1}) == 1
        await asyncio.sleep(30)
        assert log.begun == []
        async with AgentOS(store, [worker]):
            await asyncio.sleep(5)
            assert log.ended == [1]


async def test_timers_are_taken_over(store):
    """A timer of an agent of a dead process comes in the other one, at its time."""

    class Timed(Agent):
        @on("set")
        async def set(self, event: Any, ctx: Context) -> None:
            await ctx.schedule("t", after=40, topic="ring")

        @on("ring")
        async def ring(self, event: Any, ctx: Context) -> None:
            ctx.state["at"] = asyncio.get_running_loop().time()

    async with AgentOS(store, [Timed]) as second:
        first = AgentOS(same(store), [Timed])
        await first.start()
        await first.publish("set", {})
        await asyncio.sleep(1)
        await crash(first)
        await asyncio.sleep(60)
        assert (await second.inspect(Timed)).state == {"at": pytest.approx(40, abs=0.1)}


async def test_holders_are_shown_with_what_they_run(store):
    """Each process that holds mailboxes is listed with its kinds, and one can be asked to stop."""
    log = Log()
    async with AgentOS(same(store), [_worker(log)]) as first, AgentOS(store, []) as second:
        holders = {holder.fence: holder for holder in await store.holders()}
        assert holders[first.runtime.fence].kinds == ("Worker",)
        assert holders[second.runtime.fence].kinds == ()
        assert await store.request_stop([first.runtime.fence]) == 1
        await asyncio.wait_for(first.runtime.stop_asked.wait(), 10)
        assert not second.runtime.stop_asked.is_set()
