"""A bus against a simple model of it."""

import asyncio
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from aos.messaging import MessageBus, Subscription
from aos.resilience import RetryPolicy
from aos.topic import matches

TOPICS = ["a", "a.b", "a.b.c", "b"]
PATTERNS = ["a", "a.*", "a.>", ">", "*"]
ATTEMPTS = 3


class Place:
    """One subscription: what it got, and what the model says that it should get."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.subscription: Subscription
        self.got: list[int] = []
        self.failures: dict[int, int] = {}

    async def handle(self, payload: tuple[int, int, int]) -> None:
        """Give way as often as the message says, fail as often as it says."""
        number, passes, failures = payload
        for _ in range(passes):
            await asyncio.sleep(0)
        if self.failures.get(number, 0) < failures:
            self.failures[number] = self.failures.get(number, 0) + 1
            raise RuntimeError(number)
        self.got.append(number)


class BusAndModel(RuleBasedStateMachine):
    """Subscriptions alone and in groups, messages with and without ids, failures, dead letters, redrive."""

    alone = Bundle("alone")
    grouped = Bundle("grouped")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.bus = MessageBus()
        self.count = 0
        self.ids: set[str] = set()
        self.places: list[Place] = []
        self.expected: dict[Place, list[int]] = {}
        self.group: list[Place] = []
        self.group_got: list[list[int]] = []
        self.group_expected: list[int] = []
        self.dead: list[tuple[str, int]] = []

    def teardown(self) -> None:
        self.run(self.bus.cleanup())
        assert self.run(self.tasks()) == 0
        self.runner.close()

    def run(self, coroutine: Any) -> Any:
        return self.runner.run(coroutine)

    async def tasks(self) -> int:
        return len(asyncio.all_tasks()) - 1

    async def subscribe(self, place: Place, **options: Any) -> None:
        policy = RetryPolicy(attempts=ATTEMPTS, base=0)
        place.subscription = await self.bus.subscribe(place.pattern, place.handle, retry=policy, **options)

    @rule(target=alone, pattern=st.sampled_from(PATTERNS), limit=st.sampled_from([1, 2, 1000]))
    def subscribe_alone(self, pattern: str, limit: int) -> Place:
        place = Place(pattern)
        self.run(self.subscribe(place, max_pending=limit))
        self.expected[place] = []
        return place

    @rule(target=grouped)
    def join_the_group(self) -> Place:
        place = Place("a.>")
        self.run(self.subscribe(place, name="group"))
        self.group.append(place)
        self.group_got.append(place.got)
        return place

    @rule(place=consumes(alone))
    def close_alone(self, place: Place) -> None:
        self.run(place.subscription.close())
        assert place.got == self.expected.pop(place)

    @rule(place=consumes(grouped))
    def leave_the_group(self, place: Place) -> None:
        self.run(place.subscription.close())
        self.group.remove(place)

    @rule(
        messages=st.lists(
            st.tuples(
                st.sampled_from(TOPICS),
                st.integers(0, 2),
                st.integers(0, ATTEMPTS),
                st.sampled_from([None, None, "x", "y", "z"]),
            ),
            max_size=12,
        )
    )
    def publish(self, messages: list[tuple[str, int, int, str | None]]) -> None:
        self.run(self.publish_all(messages))

    async def publish_all(self, messages: list[tuple[str, int, int, str | None]]) -> None:
        for topic, passes, failures, given in messages:
            self.count += 1
            reached = await self.bus.publish(topic, (self.count, passes, failures), id=given)
            assert reached == self.model_publish(topic, failures, given)
        await self.bus.settle()

    def model_publish(self, topic: str, failures: int, given: str | None) -> int:
        hears = [place for place in self.expected if matches(place.pattern, topic)]
        group_hears = bool(self.group) and matches("a.>", topic)
        if (hears or group_hears) and given is not None:
            if given in self.ids:
                return 0
            self.ids.add(given)
        for place in hears:
            if failures < ATTEMPTS:
                self.expected[place].append(self.count)
            else:
                self.dead.append((place.subscription.name, self.count))
        if group_hears and failures < ATTEMPTS:
            self.group_expected.append(self.count)
        elif group_hears:
            self.dead.append(("group", self.count))
        return len(hears) + group_hears

    @rule()
    def redrive(self) -> None:
        async def redrive() -> int:
            count = await self.bus.redrive()
            await self.bus.settle()
            return count

        open_ones = {place.subscription.name: place for place in self.expected}
        again = [(name, n) for name, n in self.dead if name in open_ones or (name == "group" and self.group)]
        before = {place: len(place.got) for place in self.expected}
        assert self.run(redrive()) == len(again)
        for name, number in again:
            self.dead.remove((name, number))
            if name in open_ones:  # it has failed as often as it was to fail
                self.expected[open_ones[name]].append(number)
        for place, count in before.items():
            assert place.got[count:] == self.expected[place][count:]
        self.group_expected += [
            number for name, number in again if name == "group" and (name, number) not in self.letters()
        ]
        self.dead += [(name, number) for name, number in again if name == "group" and (name, number) in self.letters()]

    def letters(self) -> list[tuple[str, int]]:
        return [(letter.address, letter.message.payload()[0]) for letter in self.run(self.bus.dead_letters())]

    @invariant()
    def everybody_got_what_the_model_says(self) -> None:
        for place, expected in self.expected.items():
            assert place.got == expected
        assert sorted(n for got in self.group_got for n in got) == sorted(self.group_expected)
        assert sorted(self.letters()) == sorted(self.dead)

    @invariant()
    def nothing_is_left_to_do(self) -> None:
        statistics = self.bus.statistics()
        assert (statistics.pending, statistics.running, statistics.blocked) == (0, 0, 0)
        assert statistics.dead >= len(self.dead)


TestBusAndModel = BusAndModel.TestCase
TestBusAndModel.settings = settings(max_examples=60, stateful_step_count=15)
