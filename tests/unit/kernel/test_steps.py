"""Recorded steps: what runs again after a crash or a failure, and what does not."""

import asyncio
import dataclasses
from typing import Any

import pytest
from pydantic import BaseModel

from aos import Agent, AgentOS, Context, on
from aos.errors import InvalidAgent, StepMismatch, StepOutcomeUnknown
from aos.resilience import RetryPolicy
from aos.stores.memory import MemoryStore
from tests.systems import crash, same

ONCE = RetryPolicy(attempts=1)


class World:
    """Counts outside effects."""

    def __init__(self) -> None:
        self.done: list[str] = []

    async def act(self, name: str, wait: float = 0) -> str:
        self.done.append(name)
        await asyncio.sleep(wait)
        return f"{name} {len(self.done)}"


async def test_a_recorded_step_is_not_run_again_after_a_crash(store):
    """The handler runs again from the top, and its finished steps give what they gave before."""
    world = World()

    class Worker(Agent):
        @on("go")
        async def go(self, event: Any, ctx: Context) -> None:
            first = await ctx.step("first", world.act, "one")
            second = await ctx.step("second", world.act, "two", 100)
            ctx.state["got"] = [first, second]

    async with AgentOS(same(store), [Worker]) as system:
        await system.publish("go", {})
        await asyncio.sleep(5)
        await crash(system)
    async with AgentOS(store, [Worker]) as system:
        await asyncio.sleep(150)
        assert world.done == ["one", "two", "two"]
        assert (await system.inspect(Worker)).state == {"got": ["one 1", "two 3"]}
        assert (await store.statistics()).journal == 0


async def test_a_retried_turn_keeps_its_steps(store):
    """A handler that failed after a step does not run that step again in its next attempt."""
    world = World()

    class Worker(Agent):
        retry = RetryPolicy(base=1)

        @on("go")
        async def go(self, event: Any, ctx: Context) -> None:
            ctx.state["got"] = await ctx.step("pay", world.act, "paid")
            if ctx.attempt < 3:
                raise OSError

    async with AgentOS(store, [Worker]) as system:
        await system.publish("go", {})
        await asyncio.sleep(30)
        assert world.done == ["paid"]
        assert (await system.inspect(Worker)).state == {"got": "paid 1"}


async def test_a_step_that_raised_is_run_again(store):
    """An error is not recorded: the next attempt runs the step once more."""
    calls: list[int] = []

    def flaky() -> int:
        calls.append(1)
        if len(calls) < 3:
            raise OSError
        return len(calls)

    class Worker(Agent):
        retry = RetryPolicy(base=1)

        @on("go")
        async def go(self, event: Any, ctx: Context) -> None:
            ctx.state["got"] = await ctx.step("flaky", flaky)

    async with AgentOS(store, [Worker]) as system:
        await system.publish("go", {})
        await asyncio.sleep(30)
        assert (await system.inspect(Worker)).state == {"got": 3}


async def test_an_at_most_once_step_never_runs_twice(store):
    """Begun before a crash, it surfaces as StepOutcomeUnknown with its key, for the handler to resolve."""
    world = World()
    keys: list[str] = []

    async def transfer(idempotency_key: str) -> str:
        keys.append(idempotency_key)
        return await world.act("transfer", 100)

    class Bank(Agent):
        @on("go")
        async def go(self, event: Any, ctx: Context) -> None:
            try:
                ctx.state["got"] = await ctx.step("transfer", transfer, at_most_once=True)
            except StepOutcomeUnknown as unknown:
                ctx.state["unknown"] = [unknown.name, unknown.idempotency_key]

    async with AgentOS(same(store), [Bank]) as system:
        await system.publish("go", {})
        await asyncio.sleep(5)
        await crash(system)
    async with AgentOS(store, [Bank]) as system:
        await asyncio.sleep(30)
        assert world.done == ["transfer"]
        assert (await system.inspect(Bank)).state == {"unknown": ["transfer", keys[0]]}


async def test_an_unresolved_outcome_is_a_dead_letter_at_once(store):
    """Trying again cannot tell what happened, so it is not tried."""

    class Bank(Agent):
        retry = RetryPolicy(base=1)

        @on("go")
        async def go(self, event: Any, ctx: Context) -> None:
            def fail() -> None:
                raise ConnectionError

            await ctx.step("transfer", fail, at_most_once=True)

    async with AgentOS(store, [Bank]) as system:
        await system.publish("go", {})
        await asyncio.sleep(20)
        (letter,) = await store.dead_letters()
        assert (letter.error_type, letter.message.attempt) == ("StepOutcomeUnknown", 2)


async def test_an_idempotency_key_is_the_same_in_every_attempt(store):
    """A step's function can pass on a key that identifies this step of this message."""
    keys: list[str] = []

    async def pay(amount: int, *, idempotency_key: str) -> None:
        keys.append(idempotency_key)
        if len(keys) < 3:
            raise OSError

    class Payer(Agent):
        retry = RetryPolicy(base=1)

        @on("go")
        async def go(self, event: Any, ctx: Context) -> None:
            await ctx.step("pay", pay, 5)
            await ctx.step("pay", pay, 5)

    async with AgentOS(store, [Payer]) as system:
        await system.publish("go", {})
        await asyncio.sleep(30)
        assert len(keys) == 4
        assert len(set(keys[:3])) == 1
        assert keys[3] != keys[2]


@pytest.mark.parametrize("change", ["order", "arguments", "gone"])
async def test_changed_code_is_a_step_mismatch(store, change):
    """A handler that comes to other steps than those recorded fails with StepMismatch, never with a wrong value."""

    class Worker(Agent):
        retry = RetryPolicy(base=1)

        @on("go")
        async def go(self, event: Any, ctx: Context) -> None:
            if ctx.attempt == 1:
                await ctx.step("a", lambda x: x, 1)
                await ctx.step("b", lambda x: x, 2)
                raise OSError
            if change == "order":
                await ctx.step("b", lambda x: x, 2)
                await ctx.step("a", lambda x: x, 1)
            else:
                await ctx.step("a", lambda x: x, 1)
                if change == "arguments":
                    await ctx.step("b", lambda x: x, 3)

    async with AgentOS(store, [Worker]) as system:
        await system.publish("go", {})
        await asyncio.sleep(20)
        assert [letter.error_type for letter in await store.dead_letters()] == [StepMismatch.__name__]
        assert (await store.statistics()).journal == 0


async def test_steps_may_run_at_the_same_time(store):
    """Under gather each has its result, and after a crash only the unfinished ones run again."""
    world = World()

    class Worker(Agent):
        @on("go")
        async def go(self, event: Any, ctx: Context) -> None:
            waits = {"a": 1, "b": 100, "c": 2}
            ctx.state["got"] = await asyncio.gather(*(ctx.step(n, world.act, n, w) for n, w in waits.items()))

    async with AgentOS(same(store), [Worker]) as system:
        await system.publish("go", {})
        await asyncio.sleep(5)
        await crash(system)
    async with AgentOS(store, [Worker]) as system:
        await asyncio.sleep(150)
        assert world.done == ["a", "b", "c", "b"]
        assert (await system.inspect(Worker)).state == {"got": ["a 3", "b 4", "c 3"]}


async def test_parallel_chains_of_steps_are_no_mismatch(store):
    """Two chains of steps that overlapped may come in another order when the handler runs again."""
    world = World()

    class Worker(Agent):
        @on("go")
        async def go(self, event: Any, ctx: Context) -> None:
            async def chain(name: str) -> None:
                await ctx.step(f"{name}1", world.act, f"{name}1", 1)
                await ctx.step(f"{name}2", world.act, f"{name}2", 2 if name == "a" else 100)

            await asyncio.gather(chain("a"), chain("b"))
            ctx.state["done"] = True

    async with AgentOS(same(store), [Worker]) as system:
        await system.publish("go", {})
        await asyncio.sleep(10)
        await crash(system)
    async with AgentOS(store, [Worker]) as system:
        await asyncio.sleep(150)
        assert await store.dead_letters() == []
        assert (await system.inspect(Worker)).state == {"done": True}
        assert world.done == ["a1", "b1", "a2", "b2", "b2"]


@dataclasses.dataclass
class Point:
    x: int


class Model(BaseModel):
    name: str
    tags: set[str] = set()


def _point() -> Point:
    return Point(3)


async def _model() -> Model:
    return Model(name="m", tags={"t"})


async def _models() -> list[Model]:
    return [Model(name="m")]


@pytest.mark.parametrize("function", [_point, _model, _models])
async def test_a_steps_result_has_the_type_of_its_annotation(store, function):
    """A typed result is the same object's type whether the step ran or was recorded."""
    seen: list[Any] = []

    class Worker(Agent):
        retry = RetryPolicy(base=1)

        @on("go")
        async def go(self, event: Any, ctx: Context) -> None:
            seen.append(await ctx.step("typed", function))
            if ctx.attempt == 1:
                raise OSError

    async with AgentOS(store, [Worker]) as system:
        await system.publish("go", {})
        await asyncio.sleep(20)
        result = function()
        expected = await result if asyncio.iscoroutine(result) else result
        assert seen == [expected, expected]
        assert type(seen[0]) is type(seen[1]) is type(expected)


async def test_a_result_that_cannot_be_kept_is_said(store):
    """A step whose result is no data fails with a text that says so."""

    class Worker(Agent):
        retry = ONCE

        @on("go")
        async def go(self, event: Any, ctx: Context) -> None:
            await ctx.step("odd", object)

    async with AgentOS(store, [Worker]) as system:
        await system.publish("go", {})
        await system.settle()
        (letter,) = await store.dead_letters()
        assert "cannot be stored" in letter.reason


async def test_a_step_has_a_time_out(store):
    """A step over its time-out is cancelled and fails its turn."""
    world = World()

    class Worker(Agent):
        retry = ONCE

        @on("go")
        async def go(self, event: Any, ctx: Context) -> None:
            await ctx.step("slow", world.act, "slow", 1000, timeout=5)

    async with AgentOS(store, [Worker]) as system:
        await system.publish("go", {})
        await system.settle()
        assert asyncio.get_running_loop().time() < 10
        assert [letter.error_type for letter in await store.dead_letters()] == ["TimeoutError"]


async def test_operations_inside_a_step_are_refused():
    """A step within a step could not be found again once the outer one is recorded, so it is an error at once."""

    class Worker(Agent):
        retry = ONCE

        @on("go")
        async def go(self, event: Any, ctx: Context) -> None:
            async def outer() -> None:
                await ctx.step("inner", lambda: 1)

            await ctx.step("outer", outer)

    store = MemoryStore()
    async with AgentOS(store, [Worker]) as system:
        await system.publish("go", {})
        await system.settle()
        assert [letter.error_type for letter in await store.dead_letters()] == [InvalidAgent.__name__]


async def test_now_random_and_ids_are_the_same_when_the_handler_runs_again(store):
    """A replayed handler takes the same decisions, hours later."""
    seen: list[Any] = []

    class Chance(Agent):
        @on("go")
        async def go(self, event: Any, ctx: Context) -> None:
            before = (ctx.now, ctx.random.random(), ctx.new_id())
            await ctx.sleep(3600)
            seen.append((*before, ctx.now, ctx.random.random(), ctx.new_id()))
            await ctx.step("last", asyncio.sleep, 50)

    async with AgentOS(same(store), [Chance]) as system:
        await system.publish("go", {})
        await asyncio.sleep(3620)
        await crash(system)
    async with AgentOS(store, [Chance]) as system:
        await asyncio.sleep(100)
        assert len(seen) == 2
        assert seen[0] == seen[1]
        assert (seen[0][3] - seen[0][0]).total_seconds() == pytest.approx(3600, abs=1)


async def test_a_thousand_steps_of_one_turn_are_no_burden(store):
    """Steps in a loop are told apart by their count, and all are replayed."""
    done: list[int] = []

    def item(i: int) -> int:
        done.append(i)
        return i

    class Loop(Agent):
        retry = RetryPolicy(base=1)

        @on("go")
        async def go(self, event: Any, ctx: Context) -> None:
            for i in range(1000):
                ctx.state["n"] = ctx.state.get("n", 0) + await ctx.step("item", item, i)
            if ctx.attempt == 1:
                raise OSError

    async with AgentOS(store, [Loop]) as system:
        await system.publish("go", {})
        await asyncio.sleep(30)
        assert (await system.inspect(Loop)).state == {"n": sum(range(1000))}
        assert done == list(range(1000))


async def test_a_time_out_while_a_step_is_recorded_does_not_run_it_again():
    """What the store has written is known to the next attempt, although the handler was cancelled meanwhile."""
    world = World()

    class Slow(MemoryStore):
        async def record(self, *args: Any, **kwargs: Any) -> None:
            await super().record(*args, **kwargs)
            await asyncio.sleep(10)

    class Worker(Agent):
        timeout = 5.0
        retry = RetryPolicy(base=1)

        @on("go")
        async def go(self, event: Any, ctx: Context) -> None:
            ctx.state["got"] = await ctx.step("pay", world.act, "paid")

    store = Slow()
    async with AgentOS(store, [Worker]) as system:
        await system.publish("go", {})
        await asyncio.sleep(100)
        assert world.done == ["paid"]
        assert (await system.inspect(Worker)).state == {"got": "paid 1"}
