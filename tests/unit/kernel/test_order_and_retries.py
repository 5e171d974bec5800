"""Order of each sender, retries, and dead letters."""

import asyncio
import itertools
from typing import Any

import pytest

from aos import Agent, AgentOS, Context, on
from aos.message import Message
from aos.resilience import RetryPolicy
from aos.stores.memory import MemoryStore
from tests.virtual import EPOCH

EXACT = {"base": 10.0, "factor": 2.0, "attempts": 4}


class Log(Agent):
    """Notes what it hears; a payload can say how often it is to fail."""

    retry = RetryPolicy(**EXACT)

    @on("note.>")
    async def note(self, event: Any, ctx: Context) -> None:
        if ctx.attempt <= event.get("fails", 0):
            raise RuntimeError(f"attempt {ctx.attempt} of {event['x']}")
        ctx.state.setdefault("seen", []).append(event["x"])

    @on()
    async def direct(self, event: Any, ctx: Context) -> None:
        await self.note(event, ctx)


class Talker(Agent):
    """Sends on what it is told, as a sender of its own."""

    key = "who"

    @on("talk")
    async def talk(self, event: Any, ctx: Context) -> None:
        for message in event["say"]:
            await ctx.publish("note.it", message)


async def _seen(system: AgentOS) -> list[Any]:
    return list((await system.inspect(Log)).state["seen"])


async def test_messages_of_one_sender_are_handled_in_the_order_they_were_sent(store):
    """A hundred messages of one sender come in order, whatever their topics."""
    async with AgentOS(store, [Log]) as system:
        for i in range(100):
            await system.publish(f"note.{i % 7}", {"x": i})
        await system.settle()
        assert await _seen(system) == list(range(100))


async def test_a_failed_message_keeps_those_of_its_sender_behind_it(store):
    """Order holds across retries, and another sender does not wait for them."""
    async with AgentOS(store, [Log, Talker]) as system:
        await system.publish("talk", {"who": "a", "say": [{"x": "a1", "fails": 2}, {"x": "a2"}]})
        await system.publish("talk", {"who": "b", "say": [{"x": "b1"}, {"x": "b2"}]})
        await system.settle()
        assert await _seen(system) == ["b1", "b2"]
        await asyncio.sleep(60)
        assert await _seen(system) == ["b1", "b2", "a1", "a2"]


async def test_a_poison_message_lets_its_sender_go_on_when_it_is_given_up(store):
    """After the last attempt the sender's next message has its turn."""
    async with AgentOS(store, [Log]) as system:
        await system.publish("note.it", {"x": "poison", "fails": 99})
        await system.publish("note.it", {"x": "next"})
        await asyncio.sleep(200)
        assert await _seen(system) == ["next"]
        assert [letter.message.attempt for letter in await store.dead_letters()] == [4]


async def test_retries_come_at_the_policys_times(store):
    """The attempts of a message are apart by the policy's delays, to a thousandth of a second."""
    times: list[float] = []

    class Fails(Agent):
        retry = RetryPolicy(base=10, factor=2, cap=25, attempts=5)

        @on("go")
        async def go(self, event: Any, ctx: Context) -> None:
            times.append(ctx.now.timestamp())
            raise OSError("still down")

    async with AgentOS(store, [Fails], seed=1) as system:
        before = system.runtime.random.getstate()
        await system.publish("go", {})
        await asyncio.sleep(200)
        system.runtime.random.setstate(before)
        policy = [Fails.retry.delay(n, OSError(), system.runtime.random) for n in (1, 2, 3, 4)]
        assert [b - a for a, b in itertools.pairwise(times)] == pytest.approx(policy, abs=1e-3)
        assert len(times) == 5


async def test_an_error_that_is_not_retryable_is_given_up_at_once(store):
    """`retry_on` and `give_up_on` decide by the error's class."""

    class Picky(Agent):
        retry = RetryPolicy(retry_on=(OSError,), give_up_on=(PermissionError,))

        @on("go")
        async def go(self, event: Any, ctx: Context) -> None:
            raise {"value": ValueError, "permission": PermissionError, "connection": ConnectionError}[event]("no")

    async with AgentOS(store, [Picky]) as system:
        for error in ("value", "permission", "connection"):
            await system.publish("go", error)
        await system.settle()
        assert [letter.error_type for letter in await store.dead_letters()] == ["ValueError", "PermissionError"]
        assert system.statistics().retried == 1


async def test_a_dead_letter_says_what_happened(store):
    """It has the message, the error's class, text and traceback, the attempt and the time."""
    async with AgentOS(store, [Log]) as system:
        await system.publish("note.it", {"x": 5, "fails": 9})
        await asyncio.sleep(200)
        (letter,) = await store.dead_letters(address="Log")
        assert (letter.error_type, letter.reason) == ("RuntimeError", "RuntimeError: attempt 4 of 5")
        assert "test_order_and_retries.py" in letter.traceback
        assert (letter.message.payload(), letter.message.attempt) == ({"x": 5, "fails": 9}, 4)
        assert EPOCH + 35 <= letter.at <= EPOCH + 70


async def test_redrive_makes_a_first_attempt_of_a_dead_letter(store):
    """A redriven message is handled as if it were new, once, and is no dead letter any more."""
    fixed = False

    class Fixable(Agent):
        retry = RetryPolicy(attempts=1)

        @on("go")
        async def go(self, event: Any, ctx: Context) -> None:
            if not fixed:
                raise ValueError
            ctx.state["done"] = [*ctx.state.get("done", []), ctx.attempt]

    async with AgentOS(store, [Fixable]) as system:
        await system.publish("go", {})
        await system.settle()
        fixed = True
        (letter,) = await store.dead_letters()
        assert await store.redrive([letter.number, 4711]) == 1
        await system.settle()
        assert (await system.inspect(Fixable)).state == {"done": [1]}
        assert await store.dead_letters() == []


async def test_a_dropped_dead_letter_is_gone(store):
    """Dropping tells how many there were, and redriving one then finds nothing."""
    async with AgentOS(store, [Log]) as system:
        await system.publish("note.it", "no mapping")
        await asyncio.sleep(200)
        (letter,) = await store.dead_letters()
        assert await store.drop([letter.number, 4711]) == 1
        assert await store.redrive([letter.number]) == 0


class Ticket(Agent):
    key = "id"

    @on("tickets")
    async def ticket(self, event: Any, ctx: Context) -> None:
        ctx.state["n"] = ctx.state.get("n", 0) + 1


class Audit(Agent):
    @on("tickets")
    async def audit(self, event: Any, ctx: Context) -> None:
        ctx.state["n"] = ctx.state.get("n", 0) + 1


async def test_a_message_without_its_key_is_a_dead_letter_for_the_keyed_agent_alone(store):
    """The agents that need no key get it; for the keyed kind it is dead-lettered with the reason."""
    async with AgentOS(store, [Ticket, Audit]) as system:
        assert await system.publish("tickets", {"nr": 5}) == 1
        await system.settle()
        assert (await system.inspect(Audit)).state == {"n": 1}
        (letter,) = await store.dead_letters()
        assert letter.address == "Ticket"
        assert "'id'" in letter.reason


async def test_redriving_what_still_has_no_key_loses_nothing_and_doubles_nothing(store):
    """It stays a dead letter, and who handled it already does not get it again."""
    async with AgentOS(store, [Ticket, Audit]) as system:
        await system.publish("tickets", {"nr": 5})
        await system.settle()
        (letter,) = await store.dead_letters()
        assert await store.redrive([letter.number]) == 0
        await system.settle()
        assert (await system.inspect(Audit)).state == {"n": 1}
        assert [kept.message for kept in await store.dead_letters()] == [letter.message]


async def test_a_refused_turn_leaves_no_dead_letter_behind():
    """What a turn sends to a mailbox that cannot be found is dead-lettered once, although its commit was refused."""

    class Sender(Agent):
        @on("go")
        async def go(self, event: Any, ctx: Context) -> None:
            await ctx.publish("tickets", {"no": "id"})
            await ctx.send("Full", {})

    class Full(Agent):
        mailbox_limit = 1

        @on("x")
        async def slow(self, event: Any, ctx: Context) -> None:
            await asyncio.sleep(100)

        @on()
        async def direct(self, event: Any) -> None: ...

    store = MemoryStore()
    async with AgentOS(store, [Sender, Ticket, Full]) as system:
        await system.publish("x", {})
        await system.publish("go", {})
        await asyncio.sleep(300)
        assert [letter.address for letter in await store.dead_letters()] == ["Ticket"]


async def test_the_attempt_is_in_the_message_too(store):
    """A handler that takes the whole message sees its attempt there."""
    attempts: list[int] = []

    class Whole(Agent):
        retry = RetryPolicy(attempts=3)

        @on("go")
        async def go(self, event: Message) -> None:
            attempts.append(event.attempt)
            raise ValueError

    async with AgentOS(store, [Whole]) as system:
        await system.publish("go", {})
        await asyncio.sleep(30)
    assert attempts == [1, 2, 3]


async def test_an_error_that_cannot_be_shown_harms_nobody(store):
    """An exception whose text raises, or is no text that can be stored, is dead-lettered like any other."""

    class Nasty(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    class Broken(Agent):
        retry = RetryPolicy(attempts=1)

        @on("go")
        async def go(self, event: Any) -> None:
            raise Nasty if event == 1 else ValueError("a lone surrogate \udcff")

    async with AgentOS(store, [Broken, Log]) as system:
        await system.publish("go", 1)
        await system.publish("go", 2)
        await system.publish("note.it", {"x": "fine"})
        await system.settle()
        assert [letter.error_type for letter in await store.dead_letters()] == ["Nasty", "ValueError"]
        assert await _seen(system) == ["fine"]


@pytest.mark.parametrize("error", [SystemExit, asyncio.CancelledError, ExceptionGroup("g", [OSError()])])
async def test_whatever_a_handler_raises_stays_its_own(error):
    """SystemExit and its like in a handler are a failed turn, not the end of the system."""

    class Exits(Agent):
        retry = RetryPolicy(attempts=1)

        @on("go")
        async def go(self, event: Any) -> None:
            raise error

    store = MemoryStore()
    async with AgentOS(store, [Exits, Log]) as system:
        await system.publish("go", {})
        await system.publish("note.it", {"x": "fine"})
        await system.settle()
        assert len(await store.dead_letters()) == 1
        assert await _seen(system) == ["fine"]
