"""One turn: what it commits, and what of it nobody ever sees."""

from typing import Any

from aos import Agent, AgentOS, Context, on
from aos.errors import UnknownAgent
from aos.resilience import RetryPolicy

ONCE = RetryPolicy(attempts=1)


class Counter(Agent):
    key = "who"
    retry = ONCE

    @on("count")
    async def count(self, event: dict[str, Any], ctx: Context) -> int:
        ctx.state["n"] = ctx.state.get("n", 0) + 1
        await ctx.publish("counted", {"n": ctx.state["n"]})
        await ctx.schedule("later", after=3600)
        if event.get("fail"):
            raise ValueError("as asked")
        return int(ctx.state["n"])

    @on()
    async def direct(self, event: Any) -> None: ...


class Ear(Agent):
    @on("counted")
    async def hear(self, event: dict[str, Any], ctx: Context) -> None:
        ctx.state.setdefault("heard", []).append(event["n"])


async def test_a_turn_commits_state_messages_and_timers_together(store):
    """After a handler returned, its state is kept, its message was delivered, its timer is set."""
    async with AgentOS(store, [Counter, Ear]) as system:
        await system.publish("count", {"who": "a"})
        await system.settle()
        assert (await system.inspect(Counter, "a")).state == {"n": 1}
        assert (await system.inspect(Ear)).state == {"heard": [1]}
        assert [m.name for m in await store.pending("Counter/a")] == ["later"]


async def test_a_handler_that_raises_stages_nothing(store):
    """State, messages and timers of a failed turn are as if it had never run."""
    async with AgentOS(store, [Counter, Ear]) as system:
        await system.publish("count", {"who": "a"})
        await system.publish("count", {"who": "b", "fail": True})
        await system.settle()
        failed = await system.inspect(Counter, "b")
        assert (failed.state, failed.turns, failed.pending, failed.dead) == (None, 0, 0, 1)
        assert (await system.inspect(Ear)).state == {"heard": [1]}


async def test_a_message_to_nobody_fails_the_whole_turn(store):
    """A send to an unknown agent takes state and other messages of its turn with it, and says why."""

    class Sender(Agent):
        @on("go")
        async def go(self, event: Any, ctx: Context) -> None:
            ctx.state["went"] = True
            await ctx.publish("counted", {"n": 7})
            await ctx.send("Nobody", {})

    async with AgentOS(store, [Sender, Ear]) as system:
        await system.publish("go", {})
        await system.settle()
        (letter,) = await store.dead_letters()
        assert (letter.address, letter.error_type) == ("Sender", UnknownAgent.__name__)
        assert "Nobody" in letter.reason
        assert (await system.inspect(Sender)).state is None
        assert (await system.inspect(Ear)).turns == 0


async def test_state_changed_in_place_by_a_failed_turn_is_not_seen_later(store):
    """The next turn reads the committed state, not the object that a failed handler changed."""

    class Lists(Agent):
        retry = ONCE

        @on("add")
        async def add(self, event: dict[str, Any], ctx: Context) -> None:
            ctx.state.setdefault("all", []).append(event["x"])
            if event["x"] == "bad":
                raise ValueError

    async with AgentOS(store, [Lists]) as system:
        for x in ("one", "bad", "two"):
            await system.publish("add", {"x": x})
        await system.settle()
        assert (await system.inspect(Lists)).state == {"all": ["one", "two"]}


async def test_a_turn_that_only_reads_writes_no_state(store):
    """A handler that looks at its state and leaves it alone does not change its bytes."""

    class Reader(Agent):
        @on("look")
        async def look(self, event: Any, ctx: Context) -> int:
            return len(ctx.state)

    async with AgentOS(store, [Reader]) as system:
        assert await system.ask(Reader, {}, topic="look") == 0
        assert (await system.inspect(Reader)).turns == 1


async def test_one_agent_handles_one_message_at_a_time(store):
    """Turns of one agent never overlap; those of different agents do."""
    inside: dict[str, int] = {}
    most = {"one": 0, "all": 0}

    class Slow(Agent):
        key = "who"

        @on("work")
        async def work(self, event: dict[str, Any], ctx: Context) -> None:
            inside[ctx.key] = inside.get(ctx.key, 0) + 1
            most["one"] = max(most["one"], inside[ctx.key])
            most["all"] = max(most["all"], sum(inside.values()))
            await pause(1)
            inside[ctx.key] -= 1

    async with AgentOS(store, [Slow]) as system:
        for i in range(20):
            await system.publish("work", {"who": f"k{i % 4}"})
        await system.settle()
    assert most == {"one": 1, "all": 4}


async def test_competing_turns_of_a_reader_see_what_was_committed(store):
    """Fifty messages that each add one end in fifty, however they came in."""

    class Sum(Agent):
        @on("add")
        async def add(self, event: Any, ctx: Context) -> None:
            before = ctx.state.get("n", 0)
            await pause(0.01)
            ctx.state["n"] = before + 1

    async with AgentOS(store, [Sum]) as system:
        for _ in range(50):
            await system.publish("add", {})
        await system.settle()
        assert (await system.inspect(Sum)).state == {"n": 50}


async def test_the_history_keeps_a_line_for_each_turn(store):
    """Each attempt is a line with its outcome, its error and what it sent."""
    async with AgentOS(store, [Counter, Ear]) as system:
        await system.publish("count", {"who": "a"})
        await system.publish("count", {"who": "a", "fail": True})
        await system.settle()
        first, second = await store.turns(address="Counter/a")
        assert (first.outcome, first.sent, first.error) == ("committed", 2, "")
        assert (second.outcome, second.sent, second.error) == ("dead", 0, "ValueError: as asked")


async def pause(seconds: float) -> None:
    """Let virtual time pass inside a handler."""
    import asyncio

    await asyncio.sleep(seconds)
