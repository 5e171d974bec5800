"""Handlers that take too long, that will not be cancelled, and that cancel themselves."""

import asyncio
from typing import Any

import pytest

from aos import Agent, AgentOS, Context, Message, on
from aos.errors import AskTimeout, HandlerTimeout
from aos.resilience import RetryPolicy
from aos.stores.memory import MemoryStore

ONCE = RetryPolicy(attempts=1)


class Other(Agent):
    @on("other")
    async def other(self, event: Any, ctx: Context) -> None:
        ctx.state["n"] = ctx.state.get("n", 0) + 1


async def _heard(system: AgentOS) -> int:
    return int((await system.inspect(Other)).state["n"])


async def test_a_handler_over_its_time_out_is_cancelled(store):
    """It gets CancelledError at its time-out, not earlier, and its turn fails with HandlerTimeout."""
    ended: list[float] = []

    class Slow(Agent):
        timeout = 30.0
        retry = ONCE

        @on("go")
        async def go(self, event: Any) -> None:
            try:
                await asyncio.sleep(1000)
            finally:
                ended.append(asyncio.get_running_loop().time())

    async with AgentOS(store, [Slow]) as system:
        await system.publish("go", {})
        await system.settle()
        assert ended == pytest.approx([30.0], abs=0.1)
        (letter,) = await store.dead_letters()
        assert letter.error_type == HandlerTimeout.__name__
        assert "asyncio.sleep(1000)" in letter.traceback


async def test_a_hanging_handler_harms_no_other_agent(store):
    """While one agent hangs, another works."""

    class Hangs(Agent):
        timeout = None

        @on("go")
        async def go(self, event: Any) -> None:
            await asyncio.get_running_loop().create_future()

    async with AgentOS(store, [Hangs, Other], stop_deadline=0.1) as system:
        await system.publish("go", {})
        for _ in range(5):
            await system.publish("other", {})
        await asyncio.sleep(1)
        assert await _heard(system) == 5


@pytest.mark.parametrize("messages", [1, 3])
async def test_a_handler_that_swallows_its_time_out_has_failed_all_the_same(store, messages):
    """Its turn is not committed, and the next messages have theirs."""

    class Stubborn(Agent):
        timeout = 5.0
        retry = ONCE

        @on("go")
        async def go(self, event: Any, ctx: Context) -> str:
            ctx.state["went"] = event
            if event == "slow":
                try:
                    await asyncio.sleep(1000)
                except asyncio.CancelledError:
                    await asyncio.sleep(1)
            return "done"

    async with AgentOS(store, [Stubborn, Other]) as system:
        for _ in range(messages):
            await system.publish("go", "slow")
        await system.publish("go", "quick")
        await system.publish("other", {})
        await system.settle()
        assert [letter.error_type for letter in await store.dead_letters()] == ["HandlerTimeout"] * messages
        assert (await system.inspect(Stubborn)).state == {"went": "quick"}
        assert await _heard(system) == 1


async def test_a_handler_that_cancels_its_own_task_has_failed(store):
    """Its message is dead-lettered, and the agent and the others go on."""

    class Suicidal(Agent):
        retry = ONCE

        @on("go")
        async def go(self, event: Any, ctx: Context) -> None:
            ctx.state["n"] = event
            if event == "cancel":
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
                await asyncio.sleep(1)

    async with AgentOS(store, [Suicidal, Other]) as system:
        for what in ("first", "cancel", "last"):
            await system.publish("go", what)
        await system.publish("other", {})
        await asyncio.sleep(100)
        assert (await system.inspect(Suicidal)).state == {"n": "last"}
        assert (await system.inspect(Suicidal)).pending == 0
        assert len(await store.dead_letters()) == 1
        assert await _heard(system) == 1


async def test_a_cancellation_that_a_handler_leaves_behind_hits_no_other_turn(store):
    """A handler that asks for its task's cancellation and returns cannot break its own commit or a later turn."""

    class Parting(Agent):
        retry = ONCE

        @on("go")
        async def go(self, event: Any, ctx: Context) -> None:
            ctx.state["n"] = ctx.state.get("n", 0) + 1
            task = asyncio.current_task()
            assert task is not None
            task.cancel()

    async with AgentOS(store, [Parting, Other]) as system:
        for _ in range(3):
            await system.publish("go", {})
            await system.publish("other", {})
        await asyncio.sleep(100)
        assert await _heard(system) == 3
        record = await system.inspect(Parting)
        assert record.pending == 0
        assert record.turns + record.dead == 3
        assert (record.state or {"n": 0}) == {"n": record.turns} or record.dead == 3


async def test_a_cancelled_error_from_nowhere_is_a_failure(store):
    """A handler that raises CancelledError itself does not take its message with it."""

    class Raises(Agent):
        retry = RetryPolicy(attempts=2, base=1)

        @on("go")
        async def go(self, event: Any, ctx: Context) -> None:
            if ctx.attempt == 1:
                raise asyncio.CancelledError
            ctx.state["done"] = True

    async with AgentOS(store, [Raises]) as system:
        await system.publish("go", {})
        await asyncio.sleep(10)
        assert (await system.inspect(Raises)).state == {"done": True}


async def test_a_time_out_inside_a_handler_is_its_own_business(store):
    """`asyncio.timeout` and a cancelled child task inside a handler work as everywhere."""

    class Careful(Agent):
        @on("go")
        async def go(self, event: Any, ctx: Context) -> None:
            try:
                async with asyncio.timeout(1):
                    await asyncio.sleep(100)
            except TimeoutError:
                ctx.state["timed_out"] = True

    async with AgentOS(store, [Careful]) as system:
        await system.publish("go", {})
        await system.settle()
        assert (await system.inspect(Careful)).state == {"timed_out": True}


async def test_who_waits_for_an_answer_can_stop_waiting(store):
    """A caller that gives up an ask is cancelled at once, and the late answer harms nobody."""

    class Slow(Agent):
        @on()
        async def go(self, event: Any) -> int:
            await asyncio.sleep(50)
            return 1

    async with AgentOS(store, [Slow]) as system:
        with pytest.raises(AskTimeout):
            await system.ask(Slow, {}, timeout=1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await system.ask(Slow, {}, timeout=None)
        await asyncio.sleep(200)
        assert (await system.inspect(Slow)).turns == 2
        assert await system.ask(Slow, {}, timeout=60) == 1


async def test_operations_of_a_turn_that_is_over_are_refused():
    """A task that a handler left behind cannot record or send for a turn that has ended."""
    left: list[asyncio.Task[Any]] = []
    ran: list[str] = []

    class Leaky(Agent):
        retry = ONCE

        @on("go")
        async def go(self, event: Any, ctx: Context) -> None:
            async def later() -> None:
                await asyncio.sleep(10)
                ran.append("reached")
                await ctx.step("late", lambda: ran.append("step"))

            left.append(asyncio.get_running_loop().create_task(later()))

    store = MemoryStore()
    async with AgentOS(store, [Leaky]) as system:
        await system.publish("go", {})
        await asyncio.sleep(20)
        (failed,) = await asyncio.gather(*left, return_exceptions=True)
        assert isinstance(failed, Exception)
        assert ran == ["reached"]
        assert (await store.statistics()).journal == 0


async def test_a_time_out_holds_for_work_beside_a_wait(store):
    """A handler that waits and works at the same time may not work for ever."""

    class Both(Agent):
        timeout = 30.0
        retry = ONCE

        @on("go")
        async def go(self, event: Any, ctx: Context) -> None:
            await asyncio.gather(ctx.wait_for("never"), ctx.step("slow", asyncio.sleep, 100_000))

    async with AgentOS(store, [Both]) as system:
        await system.publish("go", {})
        await asyncio.sleep(60)
        assert [letter.error_type for letter in await store.dead_letters()] == ["HandlerTimeout"]


async def test_a_message_past_its_deadline_is_not_handled(store):
    """It is a dead letter that says so, and is not tried again."""
    async with AgentOS(store, [Other]) as system:
        now = system.runtime.now()
        await store.append([Message("late", "x", "other", b"{}", now, deadline=now - 5)])
        await store.append([Message("early", "x", "other", b"{}", now, deadline=now + 5)])
        await asyncio.sleep(10)
        assert [letter.error_type for letter in await store.dead_letters()] == ["DeadlinePassed"]
        assert await _heard(system) == 1
