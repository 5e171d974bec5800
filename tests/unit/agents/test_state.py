"""State: its types, its versions, its limit."""

import dataclasses
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel, Field

from aos import Agent, AgentOS, Context, on
from aos.resilience import RetryPolicy
from tests.systems import same

NOW = datetime(2027, 1, 2, 3, 4, tzinfo=UTC)


@dataclasses.dataclass
class Dataclass:
    n: int = 0
    seen: list[datetime] = dataclasses.field(default_factory=list)


class Struct(msgspec.Struct):
    n: int = 0
    seen: list[datetime] = []


class Inner(BaseModel):
    tags: set[str] = set()


class Model(BaseModel):
    n: int = Field(default=0, alias="number")
    seen: list[datetime] = []
    inner: Inner = Inner()


@pytest.mark.parametrize("state", [Dataclass, Struct, Model])
async def test_a_typed_state_is_its_type_in_every_turn(store, state):
    """The first turn gets a new one, later turns what was committed, with all its types."""

    class Typed(Agent):
        State = state

        @on("x")
        async def x(self, event: Any, ctx: Context) -> None:
            assert type(ctx.state) is state
            assert all(isinstance(seen, datetime) for seen in ctx.state.seen)
            ctx.state.n += 1
            ctx.state.seen.append(NOW)
            if state is Model:
                ctx.state.inner.tags.add(str(ctx.state.n))

    async with AgentOS(same(store), [Typed]) as system:
        await system.publish("x", {})
        await system.publish("x", {})
        await system.settle()
        found = (await system.inspect(Typed)).state
        assert found["n"] == 2
        assert len(found["seen"]) == 2
        if state is Model:
            assert sorted(found["inner"]["tags"]) == ["1", "2"]


async def test_a_state_may_be_assigned(store):
    """A handler may replace its state as a whole."""

    class Replaces(Agent):
        @on("x")
        async def x(self, event: dict[str, int], ctx: Context) -> None:
            ctx.state = {**ctx.state, **event}

    async with AgentOS(store, [Replaces]) as system:
        await system.publish("x", {"a": 1})
        await system.publish("x", {"b": 2})
        await system.settle()
        assert (await system.inspect(Replaces)).state == {"a": 1, "b": 2}


class V1(Agent):
    name = "Versioned"

    @on("x")
    async def x(self, event: Any, ctx: Context) -> None:
        ctx.state["count"] = ctx.state.get("count", 0) + 1


class V2(Agent):
    name = "Versioned"
    State = Dataclass
    state_version = 2

    @classmethod
    def migrate(cls, state: dict[str, Any], version: int) -> dict[str, Any]:
        assert version == 1
        return {"n": state["count"] * 100}

    @on("x")
    async def x(self, event: Any, ctx: Context) -> None:
        ctx.state.n += 1


async def test_an_older_state_is_migrated(store):
    """A state of version 1 becomes one of version 2 in the first turn that reads it."""
    async with AgentOS(same(store), [V1]) as system:
        await system.publish("x", {})
        await system.settle()
    async with AgentOS(same(store), [V2]) as system:
        await system.publish("x", {})
        await system.publish("x", {})
        await system.settle()
        record = await system.inspect("Versioned")
        assert (record.schema, record.state["n"]) == (2, 102)


async def test_a_newer_state_is_refused_and_kept(store):
    """Old code does not touch what newer code wrote: its messages are dead letters that say so."""
    async with AgentOS(same(store), [V1]) as system:
        await system.publish("x", {})
        await system.settle()
    async with AgentOS(same(store), [V2]) as system:
        await system.publish("x", {})
        await system.settle()
    async with AgentOS(same(store), [V1]) as system:
        await system.publish("x", {})
        await system.settle()
        (letter,) = await system.store.dead_letters()
        assert "has version 2, this code knows up to 1" in letter.reason
        assert (await system.inspect("Versioned")).state["n"] == 101


async def test_a_state_that_no_migration_fits_is_refused_and_kept(store):
    """Without `migrate`, the message is a dead letter that asks for one."""

    class Lazy(Agent):
        name = "Versioned"
        state_version = 2

        @on("x")
        async def x(self, event: Any, ctx: Context) -> None:
            ctx.state["n"] = 1

    async with AgentOS(same(store), [V1]) as system:
        await system.publish("x", {})
        await system.settle()
    async with AgentOS(same(store), [Lazy]) as system:
        await system.publish("x", {})
        await system.settle()
        (letter,) = await system.store.dead_letters()
        assert "`migrate`" in letter.reason
        assert (await system.inspect("Versioned")).state == {"count": 1}


async def test_a_state_over_its_limit_is_not_committed_and_harms_nobody(store):
    """The message is a dead letter, the state stays, and the next message is handled."""

    class Grows(Agent):
        state_limit = 1000

        @on("x")
        async def x(self, event: int, ctx: Context) -> None:
            ctx.state["data"] = "x" * event

    async with AgentOS(store, [Grows]) as system:
        for size in (10, 2000, 20):
            await system.publish("x", size)
        await system.settle()
        (letter,) = await store.dead_letters()
        assert letter.error_type == "StateTooLarge"
        assert "limit is 1,000" in letter.reason
        assert (await system.inspect(Grows)).state == {"data": "x" * 20}


async def test_a_state_that_is_no_data_is_refused(store):
    """An object in the state fails the turn with a text that names its class."""

    class Holds(Agent):
        retry = RetryPolicy(attempts=1)

        @on("x")
        async def x(self, event: Any, ctx: Context) -> None:
            ctx.state["client"] = object()

    async with AgentOS(store, [Holds]) as system:
        await system.publish("x", {})
        await system.settle()
        (letter,) = await store.dead_letters()
        assert "a object is not plain data" in letter.reason
