"""Bounded mailboxes: publishers wait for room, in order, and never for themselves."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from aos.errors import AskCycle, AskTimeout, MailboxFull
from aos.message import Message
from aos.messaging import MessageBus
from aos.resilience import RetryPolicy


class Gate:
    """A handler that waits until it is opened."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.heard: list[Any] = []

    async def __call__(self, payload: Any) -> Any:
        await self.open.wait()
        self.heard.append(payload)
        return payload


@asynccontextmanager
async def task(coroutine: Any) -> AsyncIterator[asyncio.Task[Any]]:
    """A task that has begun, and is over at the end."""
    async with asyncio.TaskGroup() as group:
        begun = group.create_task(coroutine)
        for _ in range(3):
            await asyncio.sleep(0)
        yield begun


async def fill(bus: MessageBus, topic: str, handler: Any, **options: Any) -> None:
    """Subscribe with room for one message, have one handled and one waiting."""
    await bus.subscribe(topic, handler, max_pending=1, **options)
    await bus.publish(topic, "running")
    for _ in range(2):
        await asyncio.sleep(0)
    await bus.publish(topic, "waiting")


async def test_publish_waits_for_room(bus):
    """`publish` waits while a mailbox is full, and goes on when there is room."""
    gate = Gate()
    await fill(bus, "a", gate)
    async with task(bus.publish("a", "third")) as publishing:
        assert not publishing.done()
        assert bus.statistics().blocked == 1
        gate.open.set()
        assert await publishing == 1
    await bus.settle()
    assert gate.heard == ["running", "waiting", "third"]


async def test_waiting_publishers_keep_their_order(bus):
    """Those that wait for room get in in the order in which they came."""
    gate = Gate()
    await fill(bus, "a", gate)
    async with asyncio.TaskGroup() as group:
        for number in range(10):
            group.create_task(bus.publish("a", number))
        await asyncio.sleep(0)
        gate.open.set()
    await bus.settle()
    assert gate.heard[2:] == list(range(10))


async def test_a_cancelled_publish_reaches_nobody(bus):
    """A message whose publisher is cancelled while it waits is in no mailbox, not even in those with room."""
    gate, other = Gate(), []
    await fill(bus, "a", gate)
    await bus.subscribe("a", other.append)
    async with task(bus.publish("a", "third")) as publishing:
        publishing.cancel()
    gate.open.set()
    await bus.settle()
    assert gate.heard == ["running", "waiting"]
    assert other == []
    assert bus.statistics().blocked == 0


async def test_a_cancelled_publish_does_not_use_up_its_id(bus):
    """The id of a message that never got in may come again."""
    gate = Gate()
    await fill(bus, "a", gate)
    async with task(bus.publish("a", "third", id="x")) as publishing:
        publishing.cancel()
    gate.open.set()
    await bus.settle()
    assert await bus.publish("a", "third", id="x") == 1


async def test_the_second_of_two_waiting_duplicates_is_left_out(bus):
    """Of two publishers that wait with the same id, one gets in."""
    gate = Gate()
    await fill(bus, "a", gate)
    async with asyncio.TaskGroup() as group:
        both = [group.create_task(bus.publish("a", "third", id="x")) for _ in range(2)]
        await asyncio.sleep(0)
        gate.open.set()
    assert [each.result() for each in both] == [1, 0]


async def test_closing_lets_publishers_go(bus):
    """A publisher that waits for a subscription that closes goes on with the others."""
    gate, other = Gate(), []
    subscription = await bus.subscribe("a", gate, max_pending=1)
    await bus.subscribe("a", other.append)
    await bus.publish("a", 1)
    async with task(bus.publish("a", 2)), task(bus.publish("a", 3)) as publishing, task(subscription.close()):
        assert await publishing == 1
        gate.open.set()
    await bus.settle()
    assert other == [1, 2, 3]


async def outcomes(bus: MessageBus, publish: Any, **options: Any) -> list[str]:
    """What a handler got that publishes to its own mailbox after it was filled."""
    filled, got = asyncio.Event(), []

    async def handle(payload: str) -> None:
        if payload != "first":
            return
        await filled.wait()
        try:
            await publish()
        except MailboxFull as error:
            got.append(type(error).__name__)
        else:
            got.append("done")

    await bus.subscribe("own", handle, max_pending=1, **options)
    await bus.publish("own", "first")
    for _ in range(2):
        await asyncio.sleep(0)
    await bus.publish("own", "second")
    filled.set()
    await bus.settle()
    return got


async def test_a_handler_that_would_wait_for_itself_fails_at_once(bus):
    """Publishing to one's own full mailbox raises MailboxFull instead of waiting for ever."""
    assert await outcomes(bus, lambda: bus.publish("own", "third")) == ["MailboxFull"]
    assert bus.statistics().handled == 2


async def test_so_does_one_whose_tasks_would(bus):
    """The same holds for a task that the handler waits for."""

    async def publish() -> None:
        await asyncio.gather(bus.publish("own", "third"))

    assert await outcomes(bus, publish) == ["MailboxFull"]


async def test_a_second_place_makes_waiting_safe(bus):
    """With concurrency=2 the other place makes room, so the handler waits and gets in."""
    assert await outcomes(bus, lambda: bus.publish("own", "third"), concurrency=2) == ["done"]
    assert bus.statistics().handled == 3


async def test_handlers_that_would_wait_for_each_other_fail(bus):
    """Two handlers that publish to each other's full mailboxes do not hang: one fails, is tried again, and all ends."""
    heard: list[str] = []

    def relay(name: str, other: str) -> Any:
        async def handle(payload: int) -> None:
            heard.append(name)
            if payload:
                for _ in range(3):
                    await bus.publish(other, payload - 1)

        return handle

    policy = RetryPolicy(attempts=2, base=0)
    await bus.subscribe("a", relay("a", "b"), max_pending=1, retry=policy)
    await bus.subscribe("b", relay("b", "a"), max_pending=1, retry=policy)
    await bus.publish("a", 5)
    await bus.settle()
    assert {letter.error_type for letter in await bus.dead_letters()} == {"MailboxFull"}
    assert bus.statistics().pending == bus.statistics().running == 0


async def test_a_task_that_outlives_its_handler_waits_for_room(bus):
    """A task that a handler left behind is no part of it: it waits for room as everybody does."""
    produced: list[int] = []
    tasks: list[asyncio.Task[None]] = []

    async def produce() -> None:
        produced.extend([await bus.publish("own", number) for number in range(500)])

    async def handle(payload: Any) -> None:
        if payload == "start":
            tasks.append(asyncio.create_task(produce()))

    await bus.subscribe("own", handle, max_pending=1)
    await bus.publish("own", "start")
    await bus.settle()
    await asyncio.gather(*tasks)
    await bus.settle()
    assert produced == [1] * 500
    assert bus.statistics().handled == 501


async def test_a_request_to_oneself_is_refused(bus):
    """A handler that asks a topic which only it can answer gets AskCycle with the chain, and nothing is sent."""
    errors: list[AskCycle] = []

    async def handle(payload: int) -> int:
        try:
            await bus.request("own", payload + 1)
        except AskCycle as error:
            errors.append(error)
        return payload

    await bus.subscribe("own", handle, name="me")
    assert await bus.request("own", 1) == 1
    await bus.settle()
    assert errors[0].chain == ("me", "me")
    assert bus.statistics().handled == 1


async def test_a_circle_of_requests_is_refused(bus):
    """When a asks b and b asks a, b gets AskCycle and may answer all the same."""

    async def a(payload: int) -> Any:
        return await bus.request("b", payload)

    async def b(payload: int) -> Any:
        try:
            return await bus.request("a", payload)
        except AskCycle as error:
            return error.chain

    await bus.subscribe("a", a, name="a")
    await bus.subscribe("b", b, name="b")
    assert await bus.request("a", 1) == ("b", "a", "b")


async def test_a_circle_is_found_when_the_last_other_answer_is_none(bus):
    """A request to oneself that somebody else hears too, and does not answer, fails when that is known."""
    chains: list[tuple[str, ...]] = []

    async def own(payload: int) -> int:
        if payload == 1:
            try:
                await bus.request("own", 2)
            except AskCycle as error:
                chains.append(error.chain)
        return payload

    await bus.subscribe("own", own, name="me")
    await bus.subscribe(">", lambda _: None, name="log")
    await bus.publish("own", 1)
    await bus.settle()
    assert chains == [("me", "me")]


async def test_a_handler_that_waits_for_a_close_is_seen(bus):
    """Closing a subscription that waits for the closing handler's mailbox gets that one MailboxFull, not a hang."""
    gate = asyncio.Event()

    async def fill(payload: int) -> None:
        await gate.wait()
        await bus.publish("closer", payload)

    async def close(_: int) -> None:
        await filler.close()

    filler = await bus.subscribe("filler", fill, name="filler", retry=RetryPolicy(attempts=1))
    await bus.subscribe("closer", close, max_pending=1)
    for topic in ("filler", "closer"):
        await bus.publish(topic, 1)
        await asyncio.sleep(0)
    await bus.publish("closer", 2)
    gate.set()
    await bus.settle()
    assert [(letter.address, letter.error_type) for letter in await bus.dead_letters()] == [("filler", "MailboxFull")]


async def test_an_answered_request_waits_for_nobody(bus):
    """Who has answered may wait for room in the asker's mailbox: the asker goes on, although it has not run yet."""

    async def ask(payload: str) -> None:
        if payload == "first":
            await bus.request("work.ask", payload)

    async def work(message: Message) -> Any:
        return await bus.publish("ask", "third") if message.topic == "work.push" else message.topic

    await bus.subscribe("ask", ask, max_pending=1)
    await bus.subscribe("work.*", work)
    await bus.publish("ask", "first")
    await asyncio.sleep(0)
    await bus.publish("ask", "second")
    await bus.publish("work.push", 1)
    await bus.settle()
    assert await bus.dead_letters() == []
    assert (bus.statistics().handled, bus.statistics().retried) == (5, 0)


async def test_a_request_for_which_only_the_asker_makes_room_fails(bus):
    """A handler gets MailboxFull when the room for its request comes only after its own end."""
    gate, errors = asyncio.Event(), []

    async def ask(payload: int) -> None:
        if payload == 1:
            await gate.wait()
            try:
                await bus.request("work", payload)
            except MailboxFull as error:
                errors.append(error.address)

    async def work(payload: int) -> None:
        if payload == 1:
            await bus.publish("ask", 3)

    await bus.subscribe("ask", ask, max_pending=1)
    await bus.subscribe("work", work, name="worker", max_pending=1)
    for topic, payload in (("ask", 1), ("ask", 2), ("work", 1), ("work", 2)):
        await bus.publish(topic, payload)
        await asyncio.sleep(0)
    gate.set()
    await bus.settle()
    assert errors == ["worker"]
    assert bus.statistics().handled == 5


async def test_request_timeout_covers_the_wait_for_room(bus):
    """A request that gets no room in time fails with AskTimeout and leaves nothing behind."""
    gate = Gate()
    await fill(bus, "a", gate)
    with pytest.raises(AskTimeout):
        await bus.request("a", "third", timeout=1e-6)
    gate.open.set()
    await bus.settle()
    assert gate.heard == ["running", "waiting"]
