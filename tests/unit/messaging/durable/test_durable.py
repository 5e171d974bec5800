"""A bus on a store: what it keeps, what it promises, and what is as in memory."""

import asyncio
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from aos.errors import AskCycle, AskFailed, AskTimeout, InvalidInput, InvalidTopic, MailboxFull, NoHandler, StoreClosed
from aos.message import Message
from aos.messaging import MessageBus
from aos.resilience import RetryPolicy
from tests.systems import crash, same

ONCE = RetryPolicy(attempts=1)
LATER = RetryPolicy(attempts=3, base=10)


@pytest.fixture
async def bus(store):
    """A bus on a store of each kind."""
    async with MessageBus(store=store) as bus:
        yield bus


async def kill(bus: MessageBus) -> None:
    """End a bus as `kill -9` ends its process."""
    inner: Any = bus._bus
    await crash(SimpleNamespace(store=inner.store, runtime=inner._runtime, _started=True))  # type: ignore[arg-type]


class Gate:
    """A handler that waits until it is opened."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.began: list[Any] = []
        self.ended: list[Any] = []

    async def __call__(self, payload: Any) -> Any:
        self.began.append(payload)
        await self.open.wait()
        self.ended.append(payload)
        return payload


async def passes(count: int = 200) -> None:
    """Let everything run that can."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_message_is_heard(bus):
    """As in memory: a pattern, a handler, a payload, and the number of mailboxes reached."""
    heard: list[Any] = []
    await bus.subscribe("orders.*", heard.append, name="billing")
    assert await bus.publish("orders.new", {"sku": "A1"}) == 1
    assert await bus.publish("other", 1) == 0
    await bus.settle()
    assert heard == [{"sku": "A1"}]


async def test_a_url_names_the_store(tmp_path):
    """A store is also given by its URL."""
    heard: list[int] = []
    async with MessageBus(store=f"sqlite:{tmp_path / 'bus.db'}") as bus:
        await bus.subscribe("a", heard.append, name="n")
        await bus.publish("a", 1)
        await bus.settle()
    assert heard == [1]


async def test_what_arrives_while_nobody_listens_is_kept(store):
    """A name that was taken once finds later what came in the meantime, in order."""
    async with MessageBus(store=store) as bus:
        await bus.subscribe("a", lambda _: None, name="billing")
    async with MessageBus(store=same(store)) as bus:
        for number in range(5):
            assert await bus.publish("a", number) == 1
    heard: list[int] = []
    async with MessageBus(store=same(store)) as bus:
        await bus.subscribe("a", heard.append, name="billing")
        await bus.settle()
    assert heard == [0, 1, 2, 3, 4]


async def test_a_killed_handler_gets_its_message_again(store):
    """A message whose handler died with its process is handled by another, after the lease, and then no more."""
    gate, heard = Gate(), []
    first = MessageBus(store=store)
    await first.subscribe("a", gate, name="n")
    for number in range(3):
        await first.publish("a", number)
    await passes()
    await kill(first)
    assert gate.began == [0]
    async with MessageBus(store=same(store)) as second:
        await second.subscribe("a", heard.append, name="n")
        await asyncio.sleep(60)
        await second.settle()
    assert heard == [0, 1, 2]


async def test_a_failed_message_is_tried_again_later_and_in_order(bus):
    """A message that failed is tried again after its delay, and nothing of its publisher overtakes it."""
    heard: list[int] = []
    failures = 1

    def handle(number: int) -> None:
        nonlocal failures
        if number == 0 and failures:
            failures -= 1
            raise OSError
        heard.append(number)

    await bus.subscribe("a", handle, name="n", retry=LATER)
    for number in range(3):
        await bus.publish("a", number)
    await bus.settle()
    assert heard == []
    await asyncio.sleep(11)
    await bus.settle()
    assert heard == [0, 1, 2]


async def test_dead_letters_and_redrive(bus):
    """A message that fails for good is a dead letter in the store, and comes back when it is sent back."""
    broken, heard = True, []

    def handle(number: int) -> None:
        if broken:
            raise ValueError("no such account")
        heard.append(number)

    await bus.subscribe("a", handle, name="n", retry=ONCE)
    await bus.publish("a", 1)
    await bus.publish("a", 2)
    await bus.settle()
    letters = await bus.dead_letters()
    assert [(letter.address, letter.error_type, letter.message.payload()) for letter in letters] == [
        ("n", "ValueError", 1),
        ("n", "ValueError", 2),
    ]
    broken = False
    assert await bus.redrive([letters[1].number]) == 1
    await bus.settle()
    assert await bus.redrive() == 1
    await bus.settle()
    assert heard == [2, 1]
    assert await bus.dead_letters() == []


async def test_an_id_is_accepted_once_in_the_store(store):
    """A message whose id was accepted before is left out, whichever bus publishes it."""
    heard: list[int] = []
    async with MessageBus(store=store) as bus:
        await bus.subscribe("a", heard.append, name="n")
        assert await bus.publish("a", 1, id="x") == 1
        await bus.settle()
    async with MessageBus(store=same(store)) as bus:
        await bus.subscribe("a", heard.append, name="n")
        assert await bus.publish("a", 2, id="x") == 0
        await bus.settle()
    assert heard == [1]


async def test_competing_consumers(bus):
    """With concurrency=3 three messages are handled at once, never four, and each once."""
    running = most = 0
    heard: list[int] = []

    async def handle(number: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(1)
        running -= 1
        heard.append(number)

    await bus.subscribe("a", handle, name="n", concurrency=3)
    for number in range(10):
        await bus.publish("a", number)
    await bus.settle()
    assert (most, sorted(heard)) == (3, list(range(10)))


async def test_competing_consumers_go_on_past_a_failed_message(bus):
    """What is not ordered waits for nobody's retry."""
    heard: list[int] = []

    def handle(number: int) -> None:
        if number == 0:
            raise OSError
        heard.append(number)

    await bus.subscribe("a", handle, name="n", ordered=False, retry=LATER)
    for number in range(4):
        await bus.publish("a", number)
    await bus.settle()
    assert sorted(heard) == [1, 2, 3]


async def test_subscriptions_of_one_name_compete_in_a_process(bus):
    """Each message goes to one of the subscriptions that share a name, in turn."""
    first, second = [], []
    await bus.subscribe("a", first.append, name="n")
    await bus.subscribe("a", second.append, name="n")
    for number in range(6):
        await bus.publish("a", number)
    await bus.settle()
    assert (first, second) == ([0, 2, 4], [1, 3, 5])


async def test_two_processes_never_handle_one_message(store):
    """Two buses on one store share the messages of a name without handling one twice."""
    heard: tuple[list[int], list[int]] = ([], [])
    async with MessageBus(store=store) as one, MessageBus(store=same(store)) as two:
        for bus, each in zip((one, two), heard, strict=True):
            await bus.subscribe("a", each.append, name="n", ordered=False)
        for number in range(20):
            await (one, two)[number % 2].publish("a", number)
        await asyncio.sleep(60)
        await one.settle()
        await two.settle()
    assert sorted(heard[0] + heard[1]) == list(range(20))


async def test_publish_waits_for_room(bus):
    """`publish` waits while an ordered subscription is full, and goes on when there is room."""
    gate = Gate()
    await bus.subscribe("a", gate, name="n", max_pending=2)
    for number in range(2):
        await bus.publish("a", number)
    async with asyncio.TaskGroup() as group:
        publishing = group.create_task(bus.publish("a", 2))
        await asyncio.sleep(5)
        assert not publishing.done()
        gate.open.set()
    await bus.settle()
    assert gate.ended == [0, 1, 2]


@pytest.mark.parametrize("ordered", [True, False])
async def test_publish_gives_up_when_there_is_no_room(store, ordered):
    """After its patience `publish` raises MailboxFull, for ordered subscriptions and for competing ones."""
    gate = Gate()
    async with MessageBus(store=store, patience=5) as bus:
        await bus.subscribe("a", gate, name="n", max_pending=3, ordered=ordered)
        for number in range(3):
            await bus.publish("a", number)
        with pytest.raises(MailboxFull):
            await bus.publish("a", 3)
        gate.open.set()
        await bus.settle()
        assert await bus.publish("a", 3) == 1
        await bus.settle()
    assert sorted(gate.ended) == [0, 1, 2, 3]


async def test_what_a_failed_handler_published_was_never_sent(bus):
    """What a handler publishes goes out with its commit: once, however often it had to run."""
    heard: list[int] = []
    attempts = 0

    async def handle(number: int) -> None:
        nonlocal attempts
        attempts += 1
        assert await bus.publish("b", number) == 1
        await passes()
        assert heard == []
        if attempts < 3:
            raise OSError

    await bus.subscribe("b", heard.append, name="b")
    await bus.subscribe("a", handle, name="a", retry=LATER)
    await bus.publish("a", 7)
    await asyncio.sleep(100)
    await bus.settle()
    assert (attempts, heard) == (3, [7])


async def test_a_task_that_outlives_its_handler_publishes_by_itself(bus):
    """A task that a handler left behind publishes as anybody does."""
    gate, heard, tasks = asyncio.Event(), [], []

    async def later() -> None:
        await gate.wait()
        await bus.publish("b", 1)

    async def handle(_: int) -> None:
        tasks.append(asyncio.create_task(later()))

    await bus.subscribe("b", heard.append, name="b")
    await bus.subscribe("a", handle, name="a")
    await bus.publish("a", 1)
    await bus.settle()
    gate.set()
    await asyncio.gather(*tasks)
    await bus.settle()
    assert heard == [1]


async def test_requests(bus):
    """The first answer that is something counts; nobody, failure and silence are errors."""
    gate = Gate()
    await bus.subscribe(">", lambda _: None, name="log")
    await bus.subscribe("double", lambda number: number * 2, name="double", concurrency=2)
    await bus.subscribe("fail", lambda _: 1 / 0, name="fail", retry=ONCE)
    await bus.subscribe("hang", gate, name="hang")
    assert await bus.request("double", 4) == 8
    assert await bus.request("nothing", 1) is None
    with pytest.raises(AskFailed, match="ZeroDivisionError"):
        await bus.request("fail", 1)
    with pytest.raises(AskTimeout):
        await bus.request("hang", 1, timeout=5)
    await bus.forget("log")
    with pytest.raises(NoHandler):
        await bus.request("nothing", 1)
    with pytest.raises(InvalidTopic):
        await bus.request("no such", 1)
    gate.open.set()


async def test_handlers_ask(bus):
    """A handler may ask others, also for long and several at once; what runs again gets the recorded answers."""
    asked: list[int] = []
    attempts = 0

    async def double(number: int) -> int:
        asked.append(number)
        await asyncio.sleep(3_600)
        return number * 2

    async def total(numbers: list[int]) -> int:
        nonlocal attempts
        attempts += 1
        answers = await asyncio.gather(*(bus.request("double", number, timeout=None) for number in numbers))
        if attempts == 1:
            raise OSError
        return sum(answers)

    await bus.subscribe("double", double, name="double", concurrency=3)
    await bus.subscribe("total", total, name="total", retry=LATER)
    assert await bus.request("total", [1, 2, 3], timeout=None) == 12
    assert (attempts, sorted(asked)) == (2, [1, 2, 3])


async def test_a_circle_of_requests_is_refused(bus):
    """A request to oneself, or to who waits for oneself, fails at once with the chain."""
    chains: list[tuple[str, ...]] = []

    def asks(topic: str) -> Any:
        async def handle(number: int) -> int:
            try:
                await bus.request(topic, number)
            except AskCycle as error:
                chains.append(error.chain)
            return number

        return handle

    await bus.subscribe("a", asks("b"), name="a")
    await bus.subscribe("b", asks("a"), name="b")
    assert await bus.request("a", 1) == 1
    assert chains == [("a", "b", "a")]


@dataclass
class Order:
    sku: str


async def test_annotations(bus):
    """A payload is validated, `Message` is the envelope, and what does not fit is a dead letter."""
    orders: list[Order] = []
    messages: list[Message] = []

    async def take(order: Order) -> None:
        orders.append(order)

    async def envelope(message: Message) -> None:
        messages.append(message)

    await bus.subscribe("a", take, name="orders")
    await bus.subscribe("a", envelope, name="envelopes")
    await bus.publish("a", {"sku": "x"}, id="m1")
    await bus.publish("a", {"count": 1})
    await bus.publish("a", Order("y"))
    await bus.settle()
    assert orders == [Order("x"), Order("y")]
    assert (messages[0].id, messages[0].topic, messages[0].payload()) == ("m1", "a", {"sku": "x"})
    (letter,) = await bus.dead_letters()
    assert (letter.address, letter.error_type) == ("orders", "InvalidPayload")


async def test_timeout(bus):
    """A handler that runs too long is cancelled, which is a failure."""
    gate = Gate()
    await bus.subscribe("a", gate, name="n", timeout=30, retry=ONCE)
    await bus.publish("a", 1)
    await bus.settle()
    assert gate.ended == []
    assert [letter.error_type for letter in await bus.dead_letters()] == ["HandlerTimeout"]


async def test_a_closed_subscription_leaves_the_rest_in_the_store(bus):
    """Closing waits for what is being handled; what follows waits for who takes up the name, and loses no attempt."""
    gate, heard = Gate(), []

    async def take(message: Message) -> None:
        heard.append((message.payload(), message.attempt))

    subscription = await bus.subscribe("a", gate, name="n")
    for number in range(3):
        await bus.publish("a", number)
    await passes()
    async with asyncio.TaskGroup() as group:
        closing = group.create_task(subscription.close())
        await asyncio.sleep(1)
        assert not closing.done()
        gate.open.set()
    await bus.publish("a", 3)
    await bus.settle()
    await asyncio.sleep(3_600)
    assert (gate.ended, subscription.statistics().handled) == ([0], 1)
    await bus.subscribe("a", take, name="n")
    await bus.settle()
    assert heard == [(1, 1), (2, 1), (3, 1)]


async def test_a_handler_closes_its_own_subscription(bus):
    """A handler may close its own subscription; it does not wait for itself."""
    heard: list[int] = []

    async def handle(number: int) -> None:
        heard.append(number)
        await subscription.close()

    subscription = await bus.subscribe("a", handle, name="n")
    await bus.publish("a", 1)
    await bus.publish("a", 2)
    await bus.settle()
    assert heard == [1]


async def test_cleanup_waits_for_what_runs_and_leaves_the_rest(store):
    """`cleanup` lets handlers end; one that does not by the deadline is cancelled, and its message stays."""
    quick, slow, heard = Gate(), Gate(), []
    bus = MessageBus(store=store)
    await bus.subscribe("quick", quick, name="quick")
    await bus.subscribe("slow", slow, name="slow")
    for topic in ("quick", "quick", "slow"):
        await bus.publish(topic, 1)
    await passes()
    async with asyncio.TaskGroup() as group:
        group.create_task(bus.cleanup(deadline=5))
        await asyncio.sleep(1)
        quick.open.set()
    assert (quick.ended, slow.ended) == ([1], [])
    async with MessageBus(store=same(store)) as again:
        for topic in ("quick", "slow"):
            await again.subscribe(topic, heard.append, name=topic)
        await asyncio.sleep(60)
        await again.settle()
    assert heard == [1, 1]


async def test_cleanup_with_a_closed_subscription_is_quick(store):
    """Messages that nobody takes in this process hold up neither `settle` nor `cleanup`."""
    bus = MessageBus(store=store)
    subscription = await bus.subscribe("a", lambda _: None, name="n", ordered=False)
    await subscription.close()
    for number in range(3):
        await bus.publish("a", number)
    await bus.settle()
    before = asyncio.get_running_loop().time()
    await bus.cleanup(deadline=1_000)
    assert asyncio.get_running_loop().time() - before < 10


async def test_life(store):
    """`initialize` and `cleanup` as often as one likes; between `cleanup` and `initialize` everything is refused."""
    bus = MessageBus(store=store)
    await bus.cleanup()
    await bus.initialize()
    await bus.initialize()
    subscription = await bus.subscribe("a", lambda _: 1, name="n")
    await bus.cleanup()
    await bus.cleanup()
    for use in (bus.publish("a", 1), bus.request("a", 1), bus.subscribe("a", print, name="n"), bus.dead_letters()):
        with pytest.raises(StoreClosed, match="initialize"):
            await use
    await bus.settle()
    await subscription.close()
    await bus.initialize()
    assert await bus.publish("a", 1) == 1
    await bus.cleanup()


async def test_cleanup_and_settle_inside_a_handler(bus):
    """A handler that would wait for its own end gets an error that says so."""
    errors: list[str] = []

    async def handle(_: int) -> None:
        for use in (bus.cleanup(), bus.settle()):
            try:
                await use
            except InvalidInput as error:
                errors.append(str(error))

    await bus.subscribe("a", handle, name="n")
    await bus.publish("a", 1)
    await bus.settle()
    assert len(errors) == 2


@pytest.mark.parametrize("name", [None, "", "a/b", "1a", "a b"])
async def test_names_are_needed(bus, name):
    """A subscription in a store has a name that can be an address."""
    with pytest.raises(InvalidInput, match="name"):
        await bus.subscribe("a", print, name=name)


async def test_one_name_means_the_same_options(bus):
    """Subscriptions of one name share topic, order, limit and retries."""
    await bus.subscribe("a", print, name="n")
    for options in ({"max_pending": 5}, {"concurrency": 2}, {"retry": ONCE}):
        with pytest.raises(InvalidInput, match="take another name"):
            await bus.subscribe("a", print, name="n", **options)
    with pytest.raises(InvalidInput, match="take another name"):
        await bus.subscribe("b", print, name="n")
    with pytest.raises(InvalidInput, match="ordered"):
        await bus.subscribe("a", print, name="m", ordered=True, concurrency=2)


async def test_a_name_that_is_forgotten_hears_nothing(store):
    """After `forget` nothing is kept for a name, so nobody waits for room in it."""
    async with MessageBus(store=store, patience=1) as bus:
        subscription = await bus.subscribe("a", print, name="n", max_pending=1)
        await subscription.close()
        await bus.publish("a", 1)
        with pytest.raises(MailboxFull):
            await bus.publish("a", 2)
        await bus.forget("n")
        assert await bus.publish("a", 2) == 0
        await bus.forget("unknown")


async def test_statistics(bus):
    """Counts are of this process; a subscription counts what it handled and what failed."""

    def handle(number: int) -> None:
        if number == 1:
            raise ValueError

    subscription = await bus.subscribe("a", handle, name="n", retry=ONCE)
    for number in range(3):
        await bus.publish("a", number)
    await bus.settle()
    own, total = subscription.statistics(), bus.statistics()
    assert (own.handled, own.failed, own.pending, own.running) == (2, 1, 0, 0)
    assert (total.published, total.handled, total.dead, total.subscriptions) == (3, 2, 1, 1)
