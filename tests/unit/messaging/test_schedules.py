"""Whatever the timing: many publishers, small mailboxes, failures, cancellations and closings."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aos.messaging import MessageBus, Subscription
from aos.resilience import RetryPolicy


@pytest.fixture(autouse=True, scope="module")
def no_log() -> Iterator[None]:
    """Thousands of expected failures need not be written down."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


AT_ONCE = RetryPolicy(attempts=2, base=0)


@dataclass
class Ear:
    """A subscription and what it got."""

    limit: int
    passes: int
    concurrency: int
    got: list[tuple[int, int]] = field(default_factory=list)
    most: int = 0
    failed: set[tuple[int, int]] = field(default_factory=set)
    subscription: Subscription | None = None

    async def hear(self, message: tuple[int, int]) -> None:
        """Take a while; fail the first attempt of every third message."""
        assert self.subscription is not None
        self.most = max(self.most, self.subscription.pending)
        for _ in range(self.passes):
            await asyncio.sleep(0)
        if message[1] % 3 == 0 and message not in self.failed:
            self.failed.add(message)
            raise RuntimeError(message)
        self.got.append(message)


ears = st.builds(Ear, limit=st.integers(1, 3), passes=st.integers(0, 3), concurrency=st.sampled_from([1, 1, 2]))
publishers = st.lists(st.lists(st.integers(0, 3), max_size=8), min_size=1, max_size=4)


@settings(max_examples=150)
@given(ears=st.lists(ears, min_size=1, max_size=3), publishers=publishers, cancel=st.none() | st.integers(1, 30))
def test_every_accepted_message_arrives_once_and_in_order(ears, publishers, cancel):
    """What `publish` accepted arrives everywhere once, in its publisher's order; what it did not, nowhere."""
    asyncio.run(_many_publishers(ears, publishers, cancel))


async def _many_publishers(ears: list[Ear], publishers: list[list[int]], cancel: int | None) -> None:
    accepted: dict[int, list[int]] = defaultdict(list)
    unsure: set[tuple[int, int]] = set()

    async def publish(who: int, pauses: list[int]) -> None:
        for number, passes in enumerate(pauses):
            for _ in range(passes):
                await asyncio.sleep(0)
            try:
                assert await bus.publish("t", (who, number)) == len(ears)
            except asyncio.CancelledError:
                unsure.add((who, number))
                raise
            accepted[who].append(number)

    async with MessageBus() as bus:
        for ear in ears:
            ear.subscription = await bus.subscribe(
                "t", ear.hear, max_pending=ear.limit, concurrency=ear.concurrency, retry=AT_ONCE
            )
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(publish(*each)) for each in enumerate(publishers)]
            for _ in range(cancel or 0):
                await asyncio.sleep(0)
            if cancel:
                tasks[0].cancel()
        await bus.settle()
        for ear in ears:
            assert ear.most <= ear.limit
            assert len(ear.got) == len(set(ear.got))
            for who, numbers in accepted.items():
                got = [number for whose, number in ear.got if whose == who]
                sure = [number for number in got if (who, number) not in unsure]
                assert (sure if ear.concurrency == 1 else sorted(sure)) == numbers
        extra = [{message for message in ear.got if message in unsure} for ear in ears]
        assert all(each == extra[0] for each in extra)
        statistics = bus.statistics()
        assert (statistics.pending, statistics.running, statistics.blocked) == (0, 0, 0)
        assert statistics.handled == sum(len(ear.got) for ear in ears)
        assert statistics.dead == 0


STEPS = st.tuples(st.sampled_from(["publish", "request", "pass", "together"]), st.sampled_from("abc"))


@dataclass
class Relay:
    """A subscription whose handler publishes and asks by a plan, as long as the budget lasts."""

    name: str
    plan: list[tuple[str, str]]
    limit: int
    concurrency: int
    bus: MessageBus
    budget: list[int]

    async def hear(self, depth: int) -> int:
        """Follow the plan."""
        for what, topic in self.plan:
            if depth > 0 and self.budget:
                self.budget.pop()
                await self.act(what, topic, depth - 1)
        return depth

    async def act(self, what: str, topic: str, depth: int) -> None:
        """Take one step."""
        if what == "publish":
            await self.bus.publish(topic, depth)
        elif what == "request":
            await self.bus.request(topic, depth, timeout=None)
        elif what == "together":
            await asyncio.gather(*(self.act(each, topic, depth) for each in ("publish", "request", "publish")))
        else:
            await asyncio.sleep(0)


@settings(max_examples=120)
@given(
    plans=st.tuples(*[st.lists(STEPS, max_size=3)] * 3),
    limits=st.tuples(*[st.integers(1, 2)] * 3),
    places=st.tuples(*[st.integers(1, 2)] * 3),
    overheard=st.booleans(),
)
def test_handlers_that_publish_and_ask_never_hang(plans, limits, places, overheard):
    """However handlers publish to and ask each other over small mailboxes, all comes to an end."""
    asyncio.run(asyncio.wait_for(_web(list(zip("abc", plans, limits, places, strict=True)), overheard), 20))


async def _web(shapes: list[Any], overheard: bool) -> None:
    budget = [0] * 60
    async with MessageBus() as bus:
        if overheard:
            await bus.subscribe(">", lambda _: None, max_pending=1)
        for shape in shapes:
            relay = Relay(*shape, bus, budget)
            await bus.subscribe(
                relay.name, relay.hear, max_pending=relay.limit, concurrency=relay.concurrency, retry=AT_ONCE
            )
        for _ in range(3):
            for name in "abc":
                await bus.publish(name, 3)
        await bus.settle()
        statistics = bus.statistics()
        assert (statistics.pending, statistics.running, statistics.blocked) == (0, 0, 0)
        assert statistics.handled + statistics.dead >= 9
        errors = {letter.error_type for letter in await bus.dead_letters()}
        assert errors <= {"MailboxFull", "AskCycle", "AskFailed", "AskTimeout"}
