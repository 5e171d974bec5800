"""Starting, stopping and failing as a whole."""

import asyncio
import contextlib
import signal
from typing import Any

import pytest

from aos import Agent, AgentOS, Context, on
from aos.errors import AOSError, StoreClosed, StoreCorrupt, StoreFull, StoreUnavailable
from aos.resilience import RetryPolicy
from aos.stores.memory import MemoryStore
from tests.systems import same


class Worker(Agent):
    retry = RetryPolicy(attempts=1)

    @on("work")
    async def work(self, event: float, ctx: Context) -> None:
        await asyncio.sleep(event)
        ctx.state["n"] = ctx.state.get("n", 0) + 1


async def _state(store: Any, agent: str = "Worker") -> Any:
    reader = same(store)
    await reader.open()
    record = await reader.agent(agent)
    await reader.close()
    return None if record is None else (record.state, record.pending)


async def test_a_stop_lets_the_running_turn_end_and_begins_no_other(store):
    """The turn under way is committed; what waits behind it stays in the store."""
    system = AgentOS(same(store), [Worker])
    await system.start()
    for _ in range(3):
        await system.publish("work", 5)
    await asyncio.sleep(1)
    await system.stop()
    assert asyncio.get_running_loop().time() < 7
    if hasattr(store, "path"):
        assert await _state(store) == ({"n": 1}, 2)
    async with AgentOS(store, [Worker]) as again:
        await again.settle()
        assert (await again.inspect(Worker)).state == {"n": 3}


async def test_a_stop_cancels_what_runs_past_its_deadline(store):
    """A handler that hangs is cancelled at the deadline, its message is kept, and no task is left."""
    system = AgentOS(same(store), [Worker], stop_deadline=3)
    await system.start()
    await system.publish("work", 10_000)
    await asyncio.sleep(1)
    await system.stop()
    assert asyncio.get_running_loop().time() == pytest.approx(4, abs=0.5)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    if hasattr(store, "path"):
        assert await _state(store) == (None, 1)


async def test_a_stop_outlasts_a_handler_that_swallows_its_cancellation(store):
    """It is cancelled again until it ends, and its outcome does not count twice."""
    swallowed = 0

    class Stubborn(Agent):
        @on("go")
        async def go(self, event: Any, ctx: Context) -> None:
            nonlocal swallowed
            while swallowed < 3:
                try:
                    await asyncio.sleep(10_000)
                except asyncio.CancelledError:
                    swallowed += 1

    system = AgentOS(store, [Stubborn], stop_deadline=1)
    await system.start()
    await system.publish("go", {})
    await asyncio.sleep(1)
    await system.stop()
    assert swallowed == 3
    assert asyncio.get_running_loop().time() < 10


async def test_stopping_twice_or_before_the_start_is_harmless(store):
    """So is starting twice."""
    system = AgentOS(store, [Worker])
    await system.stop()
    await system.start()
    await system.start()
    await system.publish("work", 0)
    await system.settle()
    await system.stop()
    await system.stop()


async def test_a_stopped_system_can_be_started_again(store):
    """On a durable store it goes on where it was."""
    system = AgentOS(store, [Worker])
    for n in (1, 2):
        async with system:
            await system.publish("work", 0)
            await system.settle()
            assert (await system.inspect(Worker)).state == {"n": n}


async def test_suspended_turns_do_not_hold_a_stop_up(store):
    """A turn that waits for days is simply left in the store."""

    class Sleeper(Agent):
        @on("go")
        async def go(self, event: Any, ctx: Context) -> None:
            await ctx.sleep(86_400)

    async with AgentOS(store, [Sleeper]) as system:
        for _ in range(10):
            await system.publish("go", {})
        await system.settle()
    assert asyncio.get_running_loop().time() < 1


async def test_what_is_sent_to_a_stopped_system_is_refused(store):
    """Nothing is accepted that would be lost."""
    system = AgentOS(store, [Worker])
    await system.start()
    await system.stop()
    with pytest.raises(StoreClosed):
        await system.publish("work", 0)


class Failing(MemoryStore):
    """Raises what it is told to, from the verb it is told to."""

    verb = ""
    error: Exception

    async def commit(self, *args: Any, **kwargs: Any) -> None:
        self._fail("commit")
        await super().commit(*args, **kwargs)

    async def claim(self) -> None:
        self._fail("claim")
        await super().claim()

    async def record(self, *args: Any, **kwargs: Any) -> None:
        self._fail("record")
        await super().record(*args, **kwargs)

    def _fail(self, verb: str) -> None:
        if verb == self.verb:
            raise self.error


@pytest.mark.parametrize("verb", ["commit", "claim"])
async def test_a_corrupt_store_ends_the_system_with_its_error(verb):
    """`run` and `stop` raise it, `settle` and `publish` tell of it, and no task is left."""
    store = Failing()
    system = AgentOS(store, [Worker])
    await system.start()
    store.verb, store.error = verb, StoreCorrupt("page 7 is damaged")
    await system.publish("work", 0)
    with pytest.raises(StoreCorrupt, match="page 7"):
        await system.run()
    with pytest.raises(AOSError, match="page 7"):
        await system.publish("work", 0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("verb", ["commit", "claim", "record"])
@pytest.mark.parametrize("error", [StoreFull(), StoreUnavailable("locked")])
async def test_a_store_that_refuses_for_a_while_loses_nothing(verb, error):
    """A full disk is no failure of the handler's: its turn is tried again until the store takes it."""

    class Steps(Agent):
        retry = RetryPolicy(attempts=1)

        @on("go")
        async def go(self, event: Any, ctx: Context) -> None:
            ctx.state["n"] = ctx.state.get("n", 0) + await ctx.step("one", lambda: 1)

    store = Failing()
    async with AgentOS(store, [Steps]) as system:
        store.verb, store.error = verb, error
        for _ in range(3):
            await system.publish("go", {})
        await asyncio.sleep(100)
        store.verb = ""
        await asyncio.sleep(60)
        assert (await system.inspect(Steps)).state == {"n": 3}
        assert await store.dead_letters() == []


async def test_trouble_with_the_store_is_asked_about_at_a_bearable_pace():
    """A store that refuses for an hour is asked a few thousand times, not millions."""
    asked = 0

    class Down(Failing):
        def _fail(self, verb: str) -> None:
            nonlocal asked
            asked += 1
            super()._fail(verb)

    store = Down()
    async with AgentOS(store, [Worker]) as system:
        store.verb, store.error = "claim", StoreUnavailable("down")
        await asyncio.sleep(3600)
        assert asked < 5000
        store.verb = ""
        await system.publish("work", 0)
        await system.settle()


async def test_a_reopening_that_fails_is_tried_again():
    """A process that lost its lease while the store was in trouble comes back when that is over."""

    class Shut(MemoryStore):
        shut = False

        async def open(self, *args: Any, **kwargs: Any) -> int:
            if self.shut:
                raise StoreUnavailable("not yet")
            return await super().open(*args, **kwargs)

    store = Shut()
    async with AgentOS(store, [Worker]) as system:
        store.shut = True
        system.runtime.begin_anew()
        await asyncio.sleep(10)
        store.shut = False
        await asyncio.sleep(10)
        await system.publish("work", 0)
        await asyncio.sleep(10)
        assert (await system.inspect(Worker)).state == {"n": 1}


async def test_a_handlers_own_trouble_with_a_store_is_its_own():
    """StoreClosed or StoreCorrupt raised by a handler, of some other store, is a failed turn."""

    class Client(Agent):
        retry = RetryPolicy(attempts=1)

        @on("go")
        async def go(self, event: Any) -> None:
            raise StoreClosed if event == 1 else StoreCorrupt("somebody else's")

    store = MemoryStore()
    async with AgentOS(store, [Client, Worker]) as system:
        await system.publish("go", 1)
        await system.publish("go", 2)
        await system.publish("work", 0)
        await system.settle()
        assert [letter.error_type for letter in await store.dead_letters()] == ["StoreClosed", "StoreCorrupt"]
        assert (await system.inspect(Worker)).state == {"n": 1}


@pytest.mark.parametrize("how", ["request_stop", "SIGTERM", "store"])
async def test_run_ends_when_it_is_asked_to(store, how):
    """By a call, by a signal, and through the store."""
    system = AgentOS(store, [Worker])
    loop = asyncio.get_running_loop()
    if how == "request_stop":
        loop.call_later(5, system.request_stop)
    elif how == "SIGTERM":
        loop.call_later(5, signal.raise_signal, signal.SIGTERM)
    else:
        asking = same(store)

        async def ask() -> None:
            await asyncio.sleep(5)
            await asking.open()
            assert await asking.request_stop() == 1
            await asking.close()

        task = loop.create_task(ask())
    await system.run()
    assert 5 <= loop.time() < 20
    if how == "store":
        await task


async def test_a_start_that_fails_leaves_nothing_behind():
    """An error while starting closes the store and leaves no task."""

    class NoTimers(MemoryStore):
        async def pending(self, *args: Any, **kwargs: Any) -> Any:
            raise StoreFull

    from aos import every

    class Timed(Agent):
        @every(1)
        async def tick(self, ctx: Context) -> None: ...

    with pytest.raises(StoreFull):
        async with AgentOS(NoTimers(), [Timed]):
            pass
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_cancelled_stop_still_stops(store):
    """Whoever gives up waiting for a stop leaves no task behind."""
    system = AgentOS(store, [Worker], stop_deadline=100)
    await system.start()
    await system.publish("work", 50)
    await asyncio.sleep(1)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(1):
            await system.stop()
    await asyncio.sleep(1)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_what_comes_in_while_a_system_fails_is_an_error_for_nobody():
    """A message that arrives between the failure and its end is accepted, and is there for the next system."""
    store = Failing()
    system = AgentOS(store, [Worker])
    await system.start()
    await system.publish("work", 1000)
    await asyncio.sleep(1)
    store.verb, store.error = "claim", StoreCorrupt("page 7 is damaged")
    system.runtime.look()
    async with AgentOS(same(store)) as outside:
        for _ in range(20):
            await outside.publish("work", 0)
            await asyncio.sleep(0)
        with pytest.raises(StoreCorrupt):
            await system.stop()
        assert (await outside.inspect(Worker)).pending == 21
