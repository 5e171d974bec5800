"""Timers: exact, once each, durable."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aos import Agent, AgentOS, Context, cron, every, on
from aos.errors import InvalidInput
from aos.resilience import RetryPolicy
from tests.systems import crash, same
from tests.virtual import EPOCH


class Clock(Agent):
    """Sets the timers it is told to, and notes when they come."""

    @on("set")
    async def set(self, event: dict[str, Any], ctx: Context) -> None:
        for name in event.pop("unset", []):
            await ctx.unschedule(name)
        for name, when in event.items():
            await ctx.schedule(name, name, topic="ring", **when)

    @on("ring")
    async def ring(self, event: str, ctx: Context) -> None:
        ctx.state.setdefault(event, []).append(round(ctx.now.timestamp() - EPOCH, 2))


async def _rung(system: AgentOS, agent: Any = Clock) -> Any:
    return (await system.inspect(agent)).state or {}


async def test_timers_come_at_their_times_once_each(store):
    """after=, at= as seconds and as a datetime: to the hundredth of a second, one time."""
    async with AgentOS(store, [Clock]) as system:
        moment = (datetime.fromtimestamp(EPOCH, UTC) + timedelta(seconds=30.5)).timestamp()
        await system.publish("set", {"a": {"after": 10.25}, "b": {"at": moment}, "c": {"after": 0}})
        await asyncio.sleep(100)
        assert await _rung(system) == {"a": [10.25], "b": [30.5], "c": [0.0]}
        assert (await system.inspect(Clock)).pending == 0


async def test_a_timer_of_the_same_name_is_replaced(store):
    """Only the latest setting of a name comes."""
    async with AgentOS(store, [Clock]) as system:
        for after in (10, 50, 30):
            await system.publish("set", {"a": {"after": after}})
        await asyncio.sleep(100)
        assert await _rung(system) == {"a": [30.0]}


async def test_a_timer_that_is_unset_does_not_come(store):
    """Unscheduling takes it away; unscheduling nothing is no error."""
    async with AgentOS(store, [Clock]) as system:
        await system.publish("set", {"a": {"after": 10}, "b": {"after": 20}})
        await system.publish("set", {"unset": ["a", "nothing"]})
        await asyncio.sleep(100)
        assert await _rung(system) == {"b": [20.0]}


async def test_unset_and_set_in_one_turn_sets(store):
    """The later of two decisions of one handler counts."""
    async with AgentOS(store, [Clock]) as system:
        await system.publish("set", {"a": {"after": 5}})
        await system.publish("set", {"unset": ["a"], "a": {"after": 30}})
        await asyncio.sleep(100)
        assert await _rung(system) == {"a": [30.0]}


async def test_a_repeating_timer_repeats_until_it_is_unset(store):
    """every= comes every so many seconds, without drift."""
    async with AgentOS(store, [Clock]) as system:
        await system.publish("set", {"a": {"every": 10}})
        await asyncio.sleep(35)
        await system.publish("set", {"unset": ["a"]})
        await asyncio.sleep(100)
        assert await _rung(system) == {"a": [10.0, 20.0, 30.0]}


async def test_a_repeating_timer_that_is_late_keeps_its_beat(store):
    """A turn that comes late, or fails first, does not shift the times that follow."""

    class Late(Agent):
        retry = RetryPolicy(base=3)

        @on("busy")
        async def busy(self, event: Any) -> None:
            await asyncio.sleep(13)

        @every(10)
        async def beat(self, ctx: Context) -> None:
            ctx.state.setdefault("at", []).append(round(ctx.now.timestamp() - EPOCH, 1))
            if len(ctx.state["at"]) == 2 and ctx.attempt == 1:
                raise OSError

    async with AgentOS(store, [Late]) as system:
        await asyncio.sleep(5)
        await system.publish("busy", {})
        await asyncio.sleep(50)
        times = (await _rung(system, Late))["at"]
        assert times[0] == 18.0
        assert 20 < times[1] < 24
        assert times[2:] == [30.0, 40.0, 50.0]


async def test_cron_comes_by_its_expression_in_utc(store):
    """`0 7 * * *` comes at seven in the morning, Coordinated Universal Time."""

    class Morning(Agent):
        @cron("0 7 * * *")
        async def wake(self, ctx: Context) -> None:
            ctx.state.setdefault("at", []).append(ctx.now.isoformat())

    options: dict[str, Any] = {"lease": 3600.0}
    async with AgentOS(store, [Morning], **options) as system:
        if hasattr(store, "path"):
            store.poll = 1800.0
        await asyncio.sleep(2 * 86_400)
        assert [at[:19] for at in (await _rung(system, Morning))["at"]] == [
            "2027-01-16T07:00:00",
            "2027-01-17T07:00:00",
        ]


class Beat(Agent):
    retry = RetryPolicy(attempts=2, base=1)

    @every(60)
    async def beat(self, ctx: Context) -> None:
        ctx.state["n"] = ctx.state.get("n", 0) + 1
        if ctx.state["n"] == 2 and not ctx.state.get("fixed"):
            raise ValueError("the second is poison")

    @on("fix")
    async def fix(self, event: Any, ctx: Context) -> None:
        ctx.state["fixed"] = True


async def test_a_repeating_handler_goes_on_after_a_dead_letter(store):
    """A run that is given up is a dead letter, and the next comes at its time."""
    async with AgentOS(store, [Beat]) as system:
        await asyncio.sleep(150)
        assert len(await store.dead_letters()) == 1
        await system.publish("fix", {})
        await asyncio.sleep(100)
        assert (await _rung(system, Beat))["n"] == 3


async def test_redriving_a_run_of_a_repeating_handler_does_not_double_it(store):
    """The redriven run goes to its own handler, and the beat stays one."""
    async with AgentOS(store, [Beat]) as system:
        await asyncio.sleep(150)
        await system.publish("fix", {})
        (letter,) = await store.dead_letters()
        await store.redrive([letter.number])
        await asyncio.sleep(5)
        assert await _rung(system, Beat) == {"n": 2, "fixed": True}
        await asyncio.sleep(600)
        assert 11 <= (await _rung(system, Beat))["n"] <= 13
        assert await store.dead_letters() == []


@pytest.mark.parametrize("how", ["crash", "stop"])
async def test_timers_survive_a_restart(store, how):
    """One that is due later comes at its time, one that was slept through comes at once; a beat is not doubled."""
    first = AgentOS(same(store), [Clock, Beat])
    await first.start()
    await first.publish("set", {"later": {"after": 200}, "missed": {"after": 20}, "over": {"after": 5}})
    await asyncio.sleep(10)
    await (crash(first) if how == "crash" else first.stop())
    await asyncio.sleep(90)
    async with AgentOS(store, [Clock, Beat]) as second:
        await asyncio.sleep(135)
        rung = await _rung(second)
        assert rung["over"] == [5.0]
        assert 100 <= rung["missed"][0] <= 111
        assert rung["later"] == [200.0]
        names = [message.name for message in await store.pending("Beat")]
        assert len(names) == len(set(names)) == 1


async def test_a_changed_beat_replaces_the_old_one(store):
    """Code with another interval, or without the handler, changes what the store goes on with."""

    class Was(Agent):
        name = "Same"

        @every(1000)
        async def beat(self, ctx: Context) -> None: ...

        @every(30)
        async def removed(self, ctx: Context) -> None: ...

    class Now(Agent):
        name = "Same"

        @every(10)
        async def beat(self, ctx: Context) -> None:
            ctx.state["n"] = ctx.state.get("n", 0) + 1

        @on("x")
        async def x(self, event: Any, ctx: Context) -> None:
            ctx.state["wrong"] = True

    async with AgentOS(same(store), [Was]):
        await asyncio.sleep(1)
    async with AgentOS(store, [Now]) as system:
        await asyncio.sleep(95)
        assert await _rung(system, Now) == {"n": 9}
        assert await store.dead_letters() == []
        assert len(await store.pending("Same")) == 1


async def test_a_timer_set_anew_while_it_waits_for_its_retry_comes_as_set(store):
    """Replacing a timer that failed replaces it for good, and its agent goes on."""

    class Retries(Agent):
        retry = RetryPolicy(base=50)

        @on("set")
        async def set(self, event: float, ctx: Context) -> None:
            await ctx.schedule("t", event, topic="ring", after=event)

        @on("ring")
        async def ring(self, event: float, ctx: Context) -> None:
            if event == 1:
                raise OSError
            ctx.state.setdefault("rung", []).append(event)

    async with AgentOS(store, [Retries]) as system:
        await system.publish("set", 1)
        await asyncio.sleep(5)
        await system.publish("set", 10)
        await asyncio.sleep(300)
        await system.publish("set", 5)
        await asyncio.sleep(10)
        assert await _rung(system, Retries) == {"rung": [10, 5]}


async def test_overdue_timers_come_in_the_order_of_their_times(store):
    """After a long turn the timer that was due first comes first, whichever was set first."""

    class Order(Agent):
        @on("set")
        async def set(self, event: Any, ctx: Context) -> None:
            for name, after in (("third", 30), ("first", 10), ("second", 20)):
                await ctx.schedule(name, name, topic="ring", after=after)

        @on("busy")
        async def busy(self, event: Any) -> None:
            await asyncio.sleep(60)

        @on("ring")
        async def ring(self, event: str, ctx: Context) -> None:
            ctx.state.setdefault("order", []).append(event)

    async with AgentOS(store, [Order]) as system:
        await system.publish("set", {})
        await system.publish("busy", {})
        await asyncio.sleep(100)
        assert await _rung(system, Order) == {"order": ["first", "second", "third"]}


async def test_a_thousand_replacements_of_a_timer_leave_nothing(store):
    """A timer that is set anew with each message, as for a debounce, costs no memory for the settings before."""
    async with AgentOS(store, [Clock]) as system:
        for _ in range(1000):
            await system.publish("set", {"a": {"after": 3600}})
        await system.settle()
        assert len(system.runtime.alarm._heap) <= 2
        assert (await system.inspect(Clock)).pending == 1


@pytest.mark.parametrize(
    "wrong",
    [{}, {"after": 1, "every": 2}, {"every": 0}, {"every": -1}, {"cron": "often"}, {"after": float("nan")}],
)
async def test_a_timer_that_makes_no_sense_is_refused(store, wrong):
    """None or two of the times, a negative one or no cron expression: the handler gets InvalidInput."""
    seen: list[Exception] = []

    class Wrong(Agent):
        @on("go")
        async def go(self, event: Any, ctx: Context) -> None:
            try:
                await ctx.schedule("a", **wrong)
            except InvalidInput as error:
                seen.append(error)

    async with AgentOS(store, [Wrong]) as system:
        await system.publish("go", {})
        await system.settle()
        assert len(seen) == 1
        assert (await system.inspect(Wrong)).pending == 0


async def test_a_delayed_message_comes_after_its_delay(store):
    """`delay=` of publish and send, from outside and from a handler."""

    class Late(Agent):
        @on("go")
        async def go(self, event: Any, ctx: Context) -> None:
            await ctx.publish("ring", "published", delay=20)
            await ctx.send(Clock, "sent", topic="ring", delay=30)

    async with AgentOS(store, [Late, Clock]) as system:
        await system.publish("ring", "outside", delay=10)
        await system.publish("go", {})
        await asyncio.sleep(100)
        assert await _rung(system) == {"outside": [10.0], "published": [20.0], "sent": [30.0]}
