"""Requests: one answer, or a clear error."""

import asyncio
from typing import Any

import pytest

from aos.errors import AskFailed, AskTimeout, InvalidInput, NoHandler
from aos.message import Message
from aos.resilience import RetryPolicy

ONCE = RetryPolicy(attempts=1)


async def test_the_result_is_the_answer(bus):
    """`request` returns what the handler returns, itself."""
    answer = object()
    await bus.subscribe("a", lambda _: answer)
    assert await bus.request("a", 1) is answer


async def test_the_first_that_returns_something_answers(bus):
    """A handler that returns None, such as a log, does not answer for one that does."""
    await bus.subscribe(">", lambda _: None)
    await bus.subscribe("a", lambda payload: payload + 1)
    assert await bus.request("a", 1) == 2
    assert await bus.request("b", 1) is None


async def test_the_others_hear_it_too(bus):
    """A request is a message like any other: all who hear its topic handle it."""
    heard: list[int] = []
    await bus.subscribe("a", lambda payload: payload)
    await bus.subscribe("a", heard.append)
    await bus.request("a", 1)
    await bus.settle()
    assert heard == [1]


async def test_nobody_to_answer_is_an_error(bus):
    """A request that nobody hears fails at once."""
    with pytest.raises(NoHandler, match="nobody hears 'a'"):
        await bus.request("a", 1)


async def test_an_answer_after_a_retry(bus):
    """A request waits for its handler's retries."""
    seen: list[int] = []

    async def handle(payload: int) -> int:
        seen.append(payload)
        if len(seen) == 1:
            raise OSError
        return 7

    await bus.subscribe("a", handle, retry=RetryPolicy(base=0))
    assert await bus.request("a", 1) == 7


async def test_a_handler_that_gives_up_fails_the_request(bus):
    """The error of the handler is the cause of AskFailed."""

    def handle(_: object) -> None:
        raise ValueError("no")

    await bus.subscribe("a", handle, name="teller", retry=ONCE)
    with pytest.raises(AskFailed, match="'teller' failed: ValueError: no") as caught:
        await bus.request("a", 1)
    assert isinstance(caught.value.__cause__, ValueError)
    assert len(await bus.dead_letters()) == 1


async def test_one_failure_does_not_hide_an_answer(bus):
    """If one handler gives up and another answers, that is the answer; if the other returns None, it is a failure."""

    def handle(_: object) -> None:
        raise ValueError

    await bus.subscribe("*", handle, retry=ONCE)
    await bus.subscribe("a", lambda _: 5)
    await bus.subscribe("b", lambda _: None)
    assert await bus.request("a", 1) == 5
    with pytest.raises(AskFailed):
        await bus.request("b", 1)


async def test_no_answer_in_time(bus):
    """Without an answer in time AskTimeout is raised, which is a TimeoutError; the handler is not disturbed."""
    gate, done = asyncio.Event(), []

    async def handle(payload: int) -> None:
        await gate.wait()
        done.append(payload)

    await bus.subscribe("a", handle)
    with pytest.raises(TimeoutError) as caught:
        await bus.request("a", 1, timeout=1e-6)
    assert isinstance(caught.value, AskTimeout)
    gate.set()
    await bus.settle()
    assert done == [1]


async def test_what_nobody_waits_for_is_not_begun(bus):
    """A request that was given up before its turn is a dead letter, and its handler does not run."""
    gate, done = asyncio.Event(), []

    async def handle(payload: int) -> None:
        await gate.wait()
        done.append(payload)

    await bus.subscribe("a", handle)
    await bus.publish("a", 1)
    with pytest.raises(AskTimeout):
        await bus.request("a", 2, timeout=1e-6)
    gate.set()
    await bus.settle()
    assert done == [1]
    assert (await bus.dead_letters())[0].error_type == "AskTimeout"


async def test_cancelling_a_request_is_clean(bus):
    """A cancelled request raises CancelledError, and its message is not handled any more."""
    gate = asyncio.Event()

    async def handle(_: object) -> None:
        await gate.wait()

    await bus.subscribe("a", handle)
    await bus.publish("a", 0)
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(bus.request("a", 1))
        await asyncio.sleep(0)
        asking.cancel()
    assert asking.cancelled()
    gate.set()
    await bus.settle()
    assert bus.statistics().handled == 1


async def test_a_request_carries_its_correlation_and_deadline(bus):
    """A handler sees in the envelope that it is asked, and until when."""
    seen: list[Message] = []

    def handle(message: Message) -> Any:
        seen.append(message)
        return 1

    await bus.subscribe("a", handle)
    await bus.request("a", 1, timeout=30)
    assert seen[0].correlation_id == seen[0].id
    assert seen[0].deadline == pytest.approx(seen[0].time + 30)


async def test_handlers_ask_each_other(bus):
    """A handler may ask from within, also several at once."""

    async def double(number: int) -> int:
        return number * 2

    async def total(numbers: list[int]) -> int:
        return sum(await asyncio.gather(*(bus.request("double", number) for number in numbers)))

    await bus.subscribe("double", double)
    await bus.subscribe("total", total)
    assert await bus.request("total", [1, 2, 3]) == 12


async def test_timeout_is_positive(bus):
    """A time-out of nothing is refused."""
    with pytest.raises(InvalidInput):
        await bus.request("a", 1, timeout=0)
