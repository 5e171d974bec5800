"""Asking and answering."""

import asyncio
from typing import Any

import pytest

from aos import Agent, AgentOS, Context, on
from aos.errors import AskCycle, AskFailed, AskTimeout, StoreClosed, UnknownAgent
from aos.resilience import RetryPolicy
from tests.systems import crash, same

ONCE = RetryPolicy(attempts=1)


class Adder(Agent):
    key = "name"
    retry = ONCE

    @on()
    async def add(self, event: dict[str, Any], ctx: Context) -> dict[str, Any]:
        if event.get("fail"):
            raise ArithmeticError("too much")
        await asyncio.sleep(event.get("wait", 0))
        ctx.state["asked"] = ctx.state.get("asked", 0) + 1
        return {"sum": sum(event["of"]), "by": ctx.key}


class Boss(Agent):
    """Asks as it is told and keeps what came of it."""

    retry = ONCE

    @on("work")
    async def work(self, event: dict[str, Any], ctx: Context) -> Any:
        try:
            answer = await ctx.ask(Adder, event["question"], key="a", timeout=event.get("timeout"))
        except (AskFailed, AskTimeout) as error:
            answer = f"{type(error).__name__}: {error}"
        ctx.state["answer"] = answer
        return answer


async def test_ask_returns_what_the_handler_returned(store):
    """From outside and from a handler, a single agent and one of many."""
    async with AgentOS(store, [Adder, Boss]) as system:
        assert await system.ask("Adder/x", {"of": [1, 2]}) == {"sum": 3, "by": "x"}
        assert await system.ask(Boss, {"question": {"of": [4, 5]}}, topic="work") == {"sum": 9, "by": "a"}


async def test_a_failed_answer_says_why(store):
    """AskFailed carries the text of the handler's error to whoever asked, at the last attempt."""
    async with AgentOS(store, [Adder, Boss]) as system:
        with pytest.raises(AskFailed, match="ArithmeticError: too much"):
            await system.ask(Adder, {"fail": True}, key="x")
        answer = await system.ask(Boss, {"question": {"fail": True}}, topic="work")
        assert "ArithmeticError: too much" in answer


async def test_an_ask_of_nobody_is_refused(store):
    """An unknown agent, or a key where there is none, is UnknownAgent with the known names."""
    async with AgentOS(store, [Adder, Boss]) as system:
        for address in ("Adders", "Boss/7", "Adder", "Adder/"):
            with pytest.raises(UnknownAgent, match="Adder"):
                await system.ask(address, {})


async def test_an_ask_times_out_at_its_time(store):
    """After `timeout` seconds the asker goes on, and the late answer is thrown away without harm."""
    async with AgentOS(store, [Adder, Boss]) as system:
        loop = asyncio.get_running_loop()
        began = loop.time()
        answer = await system.ask(Boss, {"question": {"of": [1], "wait": 50}, "timeout": 20}, topic="work", timeout=60)
        assert answer.startswith("AskTimeout")
        assert loop.time() - began == pytest.approx(20, abs=0.1)
        await asyncio.sleep(100)
        assert (await system.inspect(Boss)).pending == 0
        assert (await system.inspect("Adder/a")).state == {"asked": 1}


async def test_a_late_answer_to_a_turn_that_goes_on_is_not_taken_for_another(store):
    """After a time-out the next ask of the same turn gets its own answer."""

    class Twice(Agent):
        @on()
        async def go(self, event: Any, ctx: Context) -> Any:
            try:
                await ctx.ask(Adder, {"of": [1], "wait": 30}, key="slow", timeout=10)
            except AskTimeout:
                return await ctx.ask(Adder, {"of": [2], "wait": 60}, key="other")

    async with AgentOS(store, [Adder, Twice]) as system:
        assert await system.ask(Twice, {}, timeout=200) == {"sum": 2, "by": "other"}
        await system.settle()
        assert (await system.inspect(Twice)).pending == 0


async def test_a_cycle_of_asks_is_refused_with_its_chain(store):
    """A asks B asks C asks A: the last ask raises at once and names them all."""

    class Node(Agent):
        key = "id"
        retry = ONCE

        @on()
        async def pass_on(self, event: Any, ctx: Context) -> Any:
            following = {"a": "b", "b": "c", "c": "a"}[ctx.key]
            try:
                return await ctx.ask(Node, event, key=following)
            except AskCycle as cycle:
                return cycle.chain

    async with AgentOS(store, [Node]) as system:
        assert await system.ask(Node, {}, key="a") == ["Node/a", "Node/b", "Node/c", "Node/a"]


async def test_an_agent_that_asks_itself_is_refused(store):
    """The shortest cycle is refused too, and not tried again in vain."""

    class Narcissus(Agent):
        @on()
        async def go(self, event: Any, ctx: Context) -> Any:
            return await ctx.ask(Narcissus, {})

    async with AgentOS(store, [Narcissus]) as system:
        with pytest.raises(AskFailed, match="Narcissus -> Narcissus"):
            await system.ask(Narcissus, {}, timeout=1)


async def test_answers_reach_those_who_asked(store):
    """Fifty askers of one agent at once each get their own answer."""
    async with AgentOS(store, [Adder]) as system:
        answers = await asyncio.gather(*(system.ask(Adder, {"of": [i]}, key="one") for i in range(50)))
        assert [answer["sum"] for answer in answers] == list(range(50))


async def test_a_handler_asks_several_at_once(store):
    """Asks under gather wait together and each gets its own answer."""

    class Spread(Agent):
        @on()
        async def go(self, event: Any, ctx: Context) -> Any:
            asks = [ctx.ask(Adder, {"of": [i], "wait": 10}, key=f"k{i}") for i in range(5)]
            return [answer["sum"] for answer in await asyncio.gather(*asks)]

    async with AgentOS(store, [Adder, Spread]) as system:
        began = asyncio.get_running_loop().time()
        assert await system.ask(Spread, {}, timeout=100) == [0, 1, 2, 3, 4]
        assert asyncio.get_running_loop().time() - began == pytest.approx(10, abs=0.5)


async def test_an_answer_comes_although_the_askers_mailbox_is_full(store):
    """What waits for an asker cannot keep its answer out, or it would wait for ever."""

    class Busy(Agent):
        mailbox_limit = 3

        @on("go")
        async def go(self, event: Any, ctx: Context) -> None:
            ctx.state["n"] = ctx.state.get("n", 0) + (await ctx.ask(Adder, {"of": [1], "wait": 5}, key="a"))["sum"]

    async with AgentOS(store, [Adder, Busy]) as system:
        for _ in range(3):
            await system.publish("go", {})
        await asyncio.sleep(60)
        assert (await system.inspect(Busy)).state == {"n": 3}


async def test_the_asker_gets_its_answer_after_a_crash(store):
    """The question is not asked twice, and the answer that came meanwhile is there."""
    async with AgentOS(same(store), [Adder, Boss]) as first:
        await first.publish("work", {"question": {"of": [7], "wait": 3}})
        await asyncio.sleep(1)
        await crash(first)
    async with AgentOS(store, [Adder, Boss]) as second:
        await asyncio.sleep(30)
        assert (await second.inspect(Boss)).state == {"answer": {"sum": 7, "by": "a"}}
        assert (await second.inspect("Adder/a")).state == {"asked": 1}


async def test_an_ask_ends_with_an_error_when_the_system_stops(store):
    """Who waits for an answer of a system that stops is told so, and is not cancelled."""
    system = AgentOS(store, [Adder], stop_deadline=0.1)
    await system.start()
    asking = asyncio.get_running_loop().create_task(system.ask(Adder, {"of": [], "wait": 100}, key="a", timeout=None))
    await asyncio.sleep(1)
    await system.stop()
    with pytest.raises(StoreClosed, match="stopped"):
        await asking


async def test_a_wrong_type_of_answer_is_said(store):
    """`returns=` validates the answer; what cannot be sent as an answer fails the asked turn."""

    class Odd(Agent):
        @on()
        async def odd(self, event: Any) -> Any:
            return "text" if event else object()

    async with AgentOS(store, [Odd]) as system:
        with pytest.raises(Exception, match="does not fit int"):
            await system.ask(Odd, 1, returns=int)
        with pytest.raises(AskFailed, match="cannot be sent"):
            await system.ask(Odd, 0)
