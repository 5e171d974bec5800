"""However often the processes of a bus end, and however: nothing is lost, and the order holds."""

import asyncio
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aos.messaging import MessageBus
from aos.resilience import RetryPolicy
from aos.stores.memory import MemoryStore
from aos.stores.sqlite import SqliteStore
from tests.systems import crash, same
from tests.virtual import VirtualLoop

LATER = RetryPolicy(attempts=4, base=1)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.integers(1, 5)),
        st.tuples(st.just("run"), st.integers(0, 30)),
        st.tuples(st.just("restart"), st.just(0)),
        st.tuples(st.just("kill"), st.just(0)),
    ),
    max_size=12,
)


@pytest.fixture(autouse=True, scope="module")
def no_log() -> Iterator[None]:
    """Expected failures need not be written down."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


class World:
    """Relays: what is heard on `in` is published on `out`, where an ear hears it. Some messages fail at first."""

    def __init__(self, store: Any, fails: set[int]) -> None:
        self.store = store
        self.fails = set(fails)
        self.relayed: list[int] = []
        self.heard: list[int] = []
        self.kills = 0
        self.bus: MessageBus

    async def begin(self) -> None:
        """Start a process."""
        self.store = same(self.store)
        self.bus = MessageBus(store=self.store)
        await self.bus.subscribe("in", self.relay, name="relay", retry=LATER)
        await self.bus.subscribe("out", self.hear, name="ear")

    async def relay(self, number: int) -> None:
        """Pass a number on, and then perhaps fail."""
        self.relayed.append(number)
        await self.bus.publish("out", number)
        await asyncio.sleep(0.1)
        if number in self.fails:
            self.fails.remove(number)
            raise RuntimeError(number)

    async def hear(self, number: int) -> None:
        """Take a while."""
        self.heard.append(number)
        await asyncio.sleep(0.1)

    async def end(self, how: str) -> None:
        """End the process."""
        if how == "restart":
            await self.bus.cleanup(deadline=1)
        else:
            self.kills += 1
            inner: Any = self.bus._bus
            await crash(SimpleNamespace(store=inner.store, runtime=inner._runtime, _started=True))  # type: ignore[arg-type]


@settings(max_examples=40)
@given(steps=STEPS, fails=st.sets(st.integers(0, 10)), on_disk=st.booleans())
def test_nothing_is_lost_and_the_order_holds(steps, fails, on_disk):
    """Every accepted message is handled, in its publisher's order; its effects are there once, whatever was cut off."""
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner(loop_factory=VirtualLoop) as runner:
        store = SqliteStore(Path(folder) / "bus.db", synchronous="OFF") if on_disk else MemoryStore()
        runner.run(_live(World(store, fails), steps))


async def _live(world: World, steps: list[tuple[str, int]]) -> None:
    published: list[list[int]] = [[]]
    count = 0
    await world.begin()
    for what, amount in steps:
        if what == "publish":
            for _ in range(amount):
                assert await world.bus.publish("in", count) == 1
                published[-1].append(count)
                count += 1
        elif what == "run":
            await asyncio.sleep(amount / 20)
        else:
            await world.end(what)
            await world.begin()
            published.append([])
    await asyncio.sleep(600)
    await world.bus.settle()
    assert await world.bus.dead_letters() == []
    await world.bus.cleanup()
    committed = list(dict.fromkeys(reversed(world.relayed)))[::-1]
    assert sorted(committed) == list(range(count))
    for numbers in published:
        assert [number for number in committed if number in numbers] == numbers
    assert list(dict.fromkeys(world.heard)) == committed
    assert len(world.heard) - count <= world.kills
