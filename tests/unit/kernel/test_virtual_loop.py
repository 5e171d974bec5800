"""The loop that these tests run in."""

import asyncio
import threading
import time

import pytest

from aos import clock
from tests.virtual import EPOCH, Deadlock, VirtualLoop, run_virtual


async def test_time_jumps_to_the_next_timer():
    """A day of sleep takes no time, and both clocks say that it is over."""
    began = time.monotonic()
    await asyncio.sleep(86_400)
    assert time.monotonic() - began < 1
    assert asyncio.get_running_loop().time() == pytest.approx(86_400)
    assert clock.now() == pytest.approx(EPOCH + 86_400)


def test_a_deadlock_is_raised():
    """Waiting for what nobody will do is an error that names who waits."""

    async def hang() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Deadlock, match="hang"):
        run_virtual(hang())


def test_ticking_for_ever_is_raised():
    """A wait that goes on past the horizon is an error, although something ticks."""

    async def tick() -> None:
        while True:  # noqa: ASYNC110 - this is what it is about
            await asyncio.sleep(60)

    with pytest.raises(Deadlock, match="still waiting"):
        run_virtual(tick(), horizon=3600)


async def test_time_stands_still_while_a_thread_works():
    """A timer does not overtake an executor's job, however long that takes."""
    ended = threading.Event()
    order: list[str] = []
    asyncio.get_running_loop().call_later(10, order.append, "timer")
    asyncio.get_running_loop().call_soon(ended.set)
    await asyncio.to_thread(lambda: (ended.wait(10), order.append("thread")))
    await asyncio.sleep(11)
    assert order == ["thread", "timer"]


async def test_the_loop_is_virtual():
    """Async tests of this folder get the virtual loop without asking."""
    assert isinstance(asyncio.get_running_loop(), VirtualLoop)
