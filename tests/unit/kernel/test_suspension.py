"""Turns that wait: for time, for events, for answers, over hibernation and crashes."""

import asyncio
from typing import Any

import pytest

from aos import Agent, AgentOS, Context, on
from aos.errors import AskTimeout
from aos.resilience import RetryPolicy
from tests.systems import crash, same

ONCE = RetryPolicy(attempts=1)


class Waiter(Agent):
    """Waits for its approval and keeps what it got."""

    key = "id"
    retry = ONCE
    runs = 0

    @on("orders")
    async def order(self, event: dict[str, Any], ctx: Context) -> None:
        type(self).runs += 1
        try:
            approval = await ctx.wait_for(f"approved.{ctx.key}", timeout=event.get("timeout"))
        except AskTimeout as late:
            approval = str(late)
        ctx.state.setdefault("got", []).append(approval)

    @on("note")
    async def note(self, event: Any, ctx: Context) -> None:
        ctx.state.setdefault("got", []).append("note")


@pytest.fixture(autouse=True)
def _count() -> None:
    Waiter.runs = 0


async def _got(system: AgentOS, key: str = "7") -> Any:
    return (await system.inspect(Waiter, key)).state["got"]


async def test_a_wait_ends_with_the_event_and_uses_it_up(store):
    """The event of a wait is not handled by the agent as well."""
    async with AgentOS(store, [Waiter]) as system:
        await system.publish("orders", {"id": 7})
        await system.settle()
        assert (await system.inspect(Waiter, 7)).waiting_for == "topic approved.7"
        assert await system.publish("approved.7", "yes") == 1
        await system.settle()
        assert await _got(system) == ["yes"]
        assert (await system.inspect(Waiter, 7)).pending == 0
        assert await system.publish("approved.7", "again") == 0
        assert await store.dead_letters() == []


async def test_settle_waits_for_a_turn_whose_event_just_came(store):
    """An event that ends a wait counts as something to run."""
    async with AgentOS(store, [Waiter]) as system:
        for key in range(20):
            await system.publish("orders", {"id": key})
        await system.settle()
        for key in range(20):
            await system.publish(f"approved.{key}", key)
        await system.settle()
        assert [await _got(system, str(key)) for key in range(20)] == [[key] for key in range(20)]


async def test_a_wait_times_out_at_its_time(store):
    """Without the event the handler gets AskTimeout after `timeout` seconds, and nobody is routed to it any more."""
    async with AgentOS(store, [Waiter]) as system:
        await system.publish("orders", {"id": 7, "timeout": 100})
        await asyncio.sleep(99)
        assert (await system.inspect(Waiter, 7)).state is None
        await asyncio.sleep(2)
        assert "approved.7" in (await _got(system))[0]
        assert await system.publish("approved.7", "late") == 0


async def test_other_messages_wait_until_a_suspended_turn_is_over(store):
    """One at a time holds for suspended turns, in memory and out of it."""
    async with AgentOS(store, [Waiter], park_for=5, idle_after=20) as system:
        await system.publish("orders", {"id": 7})
        await system.publish("note", {"id": 7})
        await asyncio.sleep(100)
        await system.publish("note", {"id": 7})
        await asyncio.sleep(100)
        assert (await system.inspect(Waiter, 7)).state is None
        await system.publish("approved.7", "yes")
        await asyncio.sleep(10)
        assert await _got(system) == ["yes", "note", "note"]


async def test_a_suspended_turn_leaves_memory_and_comes_back(store):
    """After `park_for` its task ends, after `idle_after` nothing of it is in memory; the event brings it back."""
    async with AgentOS(store, [Waiter], park_for=5, idle_after=20) as system:
        await system.publish("orders", {"id": 7})
        await system.settle()
        assert system.statistics().suspended == 1
        await asyncio.sleep(10)
        assert system.statistics().suspended == 0
        await asyncio.sleep(60)
        assert system.statistics().active == 0
        assert Waiter.runs == 1
        await system.publish("approved.7", "yes")
        await asyncio.sleep(5)
        assert await _got(system) == ["yes"]
        assert Waiter.runs == 2


async def test_a_wait_goes_on_after_a_crash(store):
    """An event that comes after the crash ends the wait that began before it; its time-out holds as well."""
    async with AgentOS(same(store), [Waiter]) as system:
        await system.publish("orders", {"id": 7})
        await system.publish("orders", {"id": 8, "timeout": 100})
        await asyncio.sleep(1)
        await crash(system)
    async with AgentOS(store, [Waiter]) as system:
        await asyncio.sleep(60)
        await system.publish("approved.7", "yes")
        await asyncio.sleep(60)
        assert await _got(system) == ["yes"]
        assert "within 100 s" in (await _got(system, "8"))[0]


async def test_an_event_between_the_crash_and_the_restart_is_not_lost(store):
    """What is published while nobody runs the agent waits for it."""
    async with AgentOS(same(store), [Waiter]) as system:
        await system.publish("orders", {"id": 7})
        await asyncio.sleep(1)
        await crash(system)
    async with AgentOS(same(store), []) as other:
        assert await other.publish("approved.7", "yes") == 1
    async with AgentOS(store, [Waiter]) as system:
        await asyncio.sleep(30)
        assert await _got(system) == ["yes"]


@pytest.mark.parametrize("how", ["parked", "hibernated", "crashed", "stopped"])
async def test_a_sleep_ends_at_its_time(store, how):
    """A durable sleep of ten minutes takes ten minutes, whatever happens in between."""

    class Sleeper(Agent):
        @on("go")
        async def go(self, event: Any, ctx: Context) -> None:
            ctx.state["from"] = ctx.now.timestamp()
            await ctx.sleep(600)
            ctx.state["to"] = ctx.now.timestamp()

    options: dict[str, Any] = {"hibernated": {"park_for": 1, "idle_after": 10}, "parked": {"park_for": 9999}}.get(
        how, {}
    )
    system = AgentOS(same(store), [Sleeper], **options)
    await system.start()
    await system.publish("go", {})
    await asyncio.sleep(100)
    if how in ("crashed", "stopped"):
        await (crash(system) if how == "crashed" else system.stop())
        system = AgentOS(store, [Sleeper])
        await system.start()
    await asyncio.sleep(520)
    state = (await system.inspect(Sleeper)).state
    await system.stop()
    assert state["to"] - state["from"] == pytest.approx(600, abs=0.1)


async def test_a_suspended_handlers_own_cleanup_does_not_end_its_turn(store):
    """A handler that catches the cancellation of leaving memory is not taken for one that is done."""

    class Stubborn(Agent):
        @on("go")
        async def go(self, event: Any, ctx: Context) -> None:
            try:
                await ctx.sleep(100)
            except asyncio.CancelledError:
                ctx.state["wrong"] = True
                return
            ctx.state["right"] = True

    async with AgentOS(store, [Stubborn], park_for=5) as system:
        await system.publish("go", {})
        await asyncio.sleep(200)
        assert (await system.inspect(Stubborn)).state == {"right": True}


async def test_a_failed_turn_waits_again_for_what_it_waited_for(store):
    """The next attempt of a turn that failed beside a wait takes the same wait up."""

    class Racer(Agent):
        retry = RetryPolicy(base=1)

        @on("go")
        async def go(self, event: Any, ctx: Context) -> None:
            async def fail() -> None:
                await asyncio.sleep(1)
                if ctx.attempt == 1:
                    raise OSError

            async with asyncio.TaskGroup() as group:
                group.create_task(fail())
                waiting = group.create_task(ctx.wait_for("event"))
            ctx.state["got"] = waiting.result()

    async with AgentOS(store, [Racer]) as system:
        await system.publish("go", {})
        await asyncio.sleep(50)
        await system.publish("event", 5)
        await asyncio.sleep(50)
        assert (await system.inspect(Racer)).state == {"got": 5}
        assert (await store.statistics()).journal == 0


async def test_a_wait_does_not_swallow_what_needs_an_answer_or_comes_again(store):
    """A question and a repeating timer have their own turn, although their topic is waited for."""

    class Greedy(Agent):
        @on("go")
        async def go(self, event: Any, ctx: Context) -> None:
            await ctx.schedule("tick", "tick", topic="x", every=10)
            ctx.state["got"] = await ctx.wait_for("x")

        @on("x")
        async def x(self, event: Any, ctx: Context) -> str:
            ctx.state[str(event)] = ctx.state.get(str(event), 0) + 1
            return "answered"

    async with AgentOS(store, [Greedy]) as system:
        await system.publish("go", {})
        await system.settle()
        question = asyncio.get_running_loop().create_task(system.ask(Greedy, "question", topic="x", timeout=100))
        await asyncio.sleep(25)
        await system.publish("x", "event")
        assert await question == "answered"
        await asyncio.sleep(20)
        state = (await system.inspect(Greedy)).state
        assert (state["got"], state["question"]) == ("event", 1)
        assert state["tick"] >= 2


async def test_waits_at_the_same_time_take_one_event_each(store):
    """Two waits for one topic under gather need two events."""

    class Pair(Agent):
        @on("go")
        async def go(self, event: Any, ctx: Context) -> None:
            ctx.state["got"] = await asyncio.gather(ctx.wait_for("half"), ctx.wait_for("half"))

    async with AgentOS(store, [Pair]) as system:
        await system.publish("go", {})
        await system.settle()
        await system.publish("half", 1)
        await system.settle()
        assert (await system.inspect(Pair)).state is None
        await system.publish("half", 2)
        await system.settle()
        assert sorted((await system.inspect(Pair)).state["got"]) == [1, 2]


async def test_an_event_behind_many_messages_ends_a_wait(store):
    """A wait finds its event however much came before it."""

    class Deep(Agent):
        @on("go")
        async def go(self, event: Any, ctx: Context) -> None:
            ctx.state["got"] = await ctx.wait_for("event")

        @on("noise")
        async def noise(self, event: Any, ctx: Context) -> None:
            ctx.state["noise"] = ctx.state.get("noise", 0) + 1

    async with AgentOS(store, [Deep], park_for=10) as system:
        await system.publish("go", {})
        await system.settle()
        for _ in range(400):
            await system.publish("noise", {})
        await system.publish("event", "here")
        await asyncio.sleep(60)
        assert (await system.inspect(Deep)).state == {"got": "here", "noise": 400}


async def test_leaving_while_something_else_is_under_way_is_not_done(store):
    """A turn that waits and works at the same time stays until the work is done."""
    worked: list[int] = []

    async def work() -> int:
        await asyncio.sleep(50)
        worked.append(1)
        return 1

    class Both(Agent):
        @on("go")
        async def go(self, event: Any, ctx: Context) -> None:
            ctx.state["got"] = await asyncio.gather(ctx.step("work", work), ctx.wait_for("event"))

    async with AgentOS(store, [Both], park_for=5) as system:
        await system.publish("go", {})
        await asyncio.sleep(100)
        await system.publish("event", 2)
        await asyncio.sleep(10)
        assert (await system.inspect(Both)).state == {"got": [1, 2]}
        assert worked == [1]
