"""What `publish` promises: who gets what, in which order, as what."""

import asyncio
from collections.abc import Callable
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest

from aos.errors import InvalidInput, InvalidTopic
from aos.message import Message
from aos.messaging import MessageBus
from aos.resilience import RetryPolicy


async def test_handler_gets_the_payload_itself(bus):
    """A payload is handed over by reference."""
    heard: list[Any] = []
    payload = {"data": "test"}
    await bus.subscribe("test_topic", heard.append)
    assert await bus.publish("test_topic", payload) == 1
    await bus.settle()
    assert heard[0] is payload


@pytest.mark.parametrize(
    ("pattern", "topic", "reached"),
    [
        ("a.b", "a.b", 1),
        ("a.*", "a.b", 1),
        ("*.b", "a.b", 1),
        ("a.>", "a.b.c", 1),
        (">", "a", 1),
        ("a.*", "a.b.c", 0),
        ("a.>", "a", 0),
        ("a", "a.b", 0),
    ],
)
async def test_patterns(bus, pattern, topic, reached):
    """`*` is one part of a topic, `>` one or more at its end."""
    await bus.subscribe(pattern, lambda _: None)
    assert await bus.publish(topic, 1) == reached


async def test_publish_counts_mailboxes(bus):
    """`publish` returns how many mailboxes it reached; nobody hearing a topic is no error."""
    assert await bus.publish("a", 1) == 0
    for pattern in ("a", ">", "b"):
        await bus.subscribe(pattern, lambda _: None)
    assert await bus.publish("a", 1) == 2


@pytest.mark.parametrize("topic", ["", "a..b", "a b", "a.*", "a.>", ".a", "a.", "x" * 300, "aos.reply", None])
async def test_illegal_topics(bus, topic):
    """An illegal topic raises InvalidTopic and reaches nobody."""
    heard: list[Any] = []
    await bus.subscribe(">", heard.append)
    with pytest.raises(InvalidTopic):
        await bus.publish(topic, 1)
    with pytest.raises(InvalidTopic):
        await bus.request(topic, 1)
    await bus.settle()
    assert heard == []


@pytest.mark.parametrize("pattern", ["", "a..b", "a.>.b", "a b", "a*"])
async def test_illegal_patterns(bus, pattern):
    """An illegal pattern raises InvalidTopic, and no subscription is left behind."""
    with pytest.raises(InvalidTopic):
        await bus.subscribe(pattern, lambda _: None)
    assert bus.statistics().subscriptions == 0


async def test_order_of_one_publisher(bus):
    """A subscription gets messages one at a time in the order of publishing, also across topics."""
    heard: list[int] = []
    busy = 0

    async def handle(number: int) -> None:
        nonlocal busy
        busy += 1
        assert busy == 1
        await asyncio.sleep(0)
        heard.append(number)
        busy -= 1

    await bus.subscribe("n.>", handle)
    for number in range(300):
        await bus.publish(f"n.{number % 3}", number)
    await bus.settle()
    assert heard == list(range(300))


async def test_subscriptions_run_concurrently(bus):
    """A slow subscription does not hold up another."""
    heard: list[int] = []
    gate = asyncio.Event()

    async def slow(_: int) -> None:
        await gate.wait()

    await bus.subscribe("a", slow)
    done = asyncio.Event()

    async def quick(number: int) -> None:
        heard.append(number)
        done.set()

    await bus.subscribe("a", quick)
    await bus.publish("a", 1)
    await done.wait()
    assert heard == [1]
    gate.set()


async def test_concurrency_bounds_what_runs_at_once(bus):
    """With concurrency=3, three messages are handled at once and never four."""
    running = most = 0

    async def handle(_: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(3):
            await asyncio.sleep(0)
        running -= 1

    await bus.subscribe("a", handle, concurrency=3)
    for number in range(20):
        await bus.publish("a", number)
    await bus.settle()
    assert most == 3
    assert bus.statistics().handled == 20


async def test_subscriptions_of_one_name_compete(bus):
    """Each message goes to one of the subscriptions that share a name, and all of them get some."""
    heard: tuple[list[int], list[int]] = ([], [])
    for each in heard:
        await bus.subscribe("jobs", each.append, name="workers")
    everything: list[int] = []
    await bus.subscribe("jobs", everything.append)
    assert await bus.publish("jobs", 0) == 2
    for number in range(1, 10):
        await bus.publish("jobs", number)
    await bus.settle()
    assert sorted(heard[0] + heard[1]) == everything == list(range(10))
    assert len(heard[0]) == len(heard[1]) == 5


async def test_one_name_means_one_mailbox(bus):
    """Subscriptions of one name have the same topic and limit."""
    await bus.subscribe("a", lambda _: None, name="n")
    with pytest.raises(InvalidInput, match="'n' hears 'a'"):
        await bus.subscribe("b", lambda _: None, name="n")
    with pytest.raises(InvalidInput, match="max_pending"):
        await bus.subscribe("a", lambda _: None, name="n", max_pending=5)


async def test_a_given_id_is_accepted_once(bus):
    """A message whose id was accepted before is left out, whatever its topic and payload."""
    heard: list[int] = []
    await bus.subscribe(">", heard.append)
    assert await bus.publish("a", 1, id="x") == 1
    assert await bus.publish("a", 2, id="x") == 0
    assert await bus.publish("b", 3, id="x") == 0
    assert await bus.publish("a", 4, id="y") == 1
    await bus.settle()
    assert heard == [1, 4]
    assert bus.statistics().duplicates == 2


async def test_an_id_that_reached_nobody_is_not_used_up(bus):
    """A message that nobody heard was not accepted, so its id may come again."""
    assert await bus.publish("a", 1, id="x") == 0
    await bus.subscribe("a", lambda _: None)
    assert await bus.publish("a", 1, id="x") == 1


async def test_the_window_of_ids_is_bounded():
    """The oldest ids are forgotten when the window is full."""
    async with MessageBus(dedupe_window=2) as bus:
        await bus.subscribe("a", lambda _: None)
        assert [await bus.publish("a", 0, id=each) for each in ("x", "y", "z", "y", "x")] == [1, 1, 1, 0, 1]


@pytest.mark.parametrize("id", ["", 7, b"x"])
async def test_ids_are_text(bus, id):
    """An id that is not text, or is empty, is refused."""
    with pytest.raises(InvalidInput, match="id"):
        await bus.publish("a", 1, id=id)


async def test_message_tells_where_it_comes_from(bus):
    """A handler annotated `Message` gets the envelope: id, topic, time, attempt, payload, source and cause."""
    first: list[Message] = []
    second: list[Message] = []

    async def relay(message: Message) -> None:
        first.append(message)
        await bus.publish("b", {"n": 2})

    def end(message: Message) -> None:
        second.append(message)

    await bus.subscribe("a", relay, name="relay")
    await bus.subscribe("b", end)
    await bus.publish("a", {"n": 1}, id="given")
    await bus.settle()
    assert (first[0].id, first[0].topic, first[0].attempt, first[0].source) == ("given", "a", 1, "")
    assert first[0].payload() == {"n": 1}
    assert first[0].time > 1e9
    assert (second[0].source, second[0].causation_id) == ("relay", "given")


async def test_one_message_has_one_id_everywhere(bus):
    """All subscriptions see the same id, and each attempt sees its number."""
    seen: list[tuple[str, int]] = []

    def handle(message: Message) -> None:
        seen.append((message.id, message.attempt))
        if len(seen) == 1:
            raise ValueError

    for _ in range(2):
        await bus.subscribe("a", handle, retry=RetryPolicy(base=0))
    await bus.publish("a", 1)
    await bus.settle()
    assert len({each for each, _ in seen}) == 1
    assert sorted(attempt for _, attempt in seen) == [1, 1, 2]


@pytest.mark.parametrize("make", [Mock, AsyncMock])
async def test_mocks_are_handlers(bus, make: Callable[..., Any]):
    """A Mock or AsyncMock hears messages as a function would."""
    handler = make(return_value="answer")
    await bus.subscribe("a", handler)
    assert await bus.request("a", {"n": 1}) == "answer"
    handler.assert_called_once_with({"n": 1})


async def test_a_handler_that_spins_lets_others_run(bus):
    """A handler that publishes to its own topic for ever keeps nobody else from running."""
    count = 0
    stop = False

    async def spin(_: int) -> None:
        nonlocal count
        count += 1
        if not stop:
            await bus.publish("spin", 0)

    await bus.subscribe("spin", spin)
    await bus.publish("spin", 0)
    for _ in range(5):
        await asyncio.sleep(0)
    stop = True
    await bus.settle()
    assert 0 < count < 1_000


async def test_statistics_add_up(bus):
    """Everything accepted is counted as handled, dead, pending or running; closed subscriptions stay counted."""

    def handle(number: int) -> None:
        if number == 3:
            raise ValueError

    subscription = await bus.subscribe("a", handle, retry=RetryPolicy(attempts=2, base=0))
    for number in range(5):
        await bus.publish("a", number)
    assert (subscription.pending, bus.statistics().pending) == (5, 5)
    await bus.settle()
    own = subscription.statistics()
    assert (own.handled, own.failed, own.pending, own.running) == (4, 2, 0, 0)
    await subscription.close()
    total = bus.statistics()
    assert (total.published, total.handled, total.retried, total.dead, total.subscriptions) == (5, 4, 1, 1, 0)


@pytest.mark.parametrize(
    "options", [{"concurrency": 0}, {"max_pending": 0}, {"timeout": 0}, {"timeout": -1}, {"name": ""}]
)
async def test_options_out_of_range(bus, options):
    """An option that makes no sense is refused when subscribing."""
    with pytest.raises(InvalidInput):
        await bus.subscribe("a", lambda _: None, **options)
