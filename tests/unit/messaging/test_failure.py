"""What happens to a message whose handler fails."""

import asyncio
import logging
from typing import Any

import pytest

from aos.errors import InvalidInput
from aos.messaging import MessageBus
from aos.resilience import RetryPolicy

AT_ONCE = RetryPolicy(attempts=3, base=0)
LATER = RetryPolicy(attempts=3, base=1_000)


async def test_a_failed_message_is_tried_again(bus):
    """A handler that raises gets the message again."""
    seen: list[int] = []

    async def handle(number: int) -> None:
        seen.append(number)
        if len(seen) < 3:
            raise OSError("not yet")

    await bus.subscribe("a", handle, retry=AT_ONCE)
    await bus.publish("a", 1)
    await bus.settle()
    assert seen == [1, 1, 1]
    assert await bus.dead_letters() == []


async def test_dead_letter_says_why(bus, caplog):
    """A message that fails for good becomes a dead letter with error, traceback and subscription, and is logged."""

    def handle(_: object) -> None:
        raise ValueError("no such\naccount")

    await bus.subscribe("a", handle, name="accounts", retry=AT_ONCE)
    with caplog.at_level(logging.WARNING, "aos.messaging"):
        await bus.publish("a", {"n": 1}, id="m1")
        await bus.settle()
    (letter,) = await bus.dead_letters()
    assert (letter.address, letter.error_type, letter.reason) == ("accounts", "ValueError", "no such account")
    assert (letter.message.id, letter.message.attempt, letter.message.payload()) == ("m1", 3, {"n": 1})
    assert "in handle" in letter.traceback
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING", "ERROR"]
    assert "m1" in caplog.text


async def test_nothing_overtakes_a_message_that_waits_for_its_retry(bus):
    """While a message waits for its next attempt, what follows waits behind it; `settle` does not wait for that."""
    seen: list[tuple[int, str]] = []

    async def handle(number: int) -> None:
        seen.append((number, "tried"))
        if number == 1 and len(seen) == 1:
            raise OSError

    subscription = await bus.subscribe("a", handle, retry=LATER)
    await bus.publish("a", 1)
    await bus.publish("a", 2)
    await bus.settle()
    assert seen == [(1, "tried")]
    assert (subscription.pending, subscription.statistics().running) == (1, 1)
    await subscription.close()
    assert [number for number, _ in seen] == [1, 1, 2]


async def test_competing_handlers_go_on_past_a_failed_message(bus):
    """With concurrency above 1 only the failed message waits."""
    seen: list[int] = []

    def handle(number: int) -> None:
        if number == 0:
            raise OSError
        seen.append(number)

    await bus.subscribe("a", handle, retry=LATER, concurrency=2)
    for number in range(4):
        await bus.publish("a", number)
    await bus.settle()
    assert seen == [1, 2, 3]


async def test_the_subscription_goes_on_after_a_dead_letter(bus):
    """One message that fails for good harms no other."""
    seen: list[int] = []

    def handle(number: int) -> None:
        if number == 1:
            raise ValueError
        seen.append(number)

    await bus.subscribe("a", handle, retry=RetryPolicy(attempts=1))
    for number in range(3):
        await bus.publish("a", number)
    await bus.settle()
    assert seen == [0, 2]


async def test_timeout_cancels_the_handler_and_is_a_failure(bus):
    """A handler that runs longer than its time-out is cancelled, and its message fails."""
    cancelled = asyncio.Event()

    async def hang(_: object) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    await bus.subscribe("a", hang, timeout=1e-6, retry=RetryPolicy(attempts=1))
    await bus.publish("a", 1)
    await bus.settle()
    assert cancelled.is_set()
    assert (await bus.dead_letters())[0].error_type == "HandlerTimeout"


async def test_own_timeout_error_is_the_handlers(bus):
    """A TimeoutError that the handler raises is not taken for its time-out."""

    async def handle(_: object) -> None:
        raise TimeoutError("upstream")

    await bus.subscribe("a", handle, timeout=100, retry=RetryPolicy(attempts=1))
    await bus.publish("a", 1)
    await bus.settle()
    assert ((await bus.dead_letters())[0].error_type, (await bus.dead_letters())[0].reason) == (
        "TimeoutError",
        "upstream",
    )


async def test_a_handler_that_raises_cancelled_error_does_not_vanish(bus):
    """CancelledError out of a handler that nobody cancelled is a failure like any other."""
    seen: list[int] = []

    async def handle(number: int) -> None:
        if number == 0:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            future.cancel()
            await future
        seen.append(number)

    await bus.subscribe("a", handle)
    await bus.publish("a", 0)
    await bus.publish("a", 1)
    await bus.settle()
    assert seen == [1]
    assert (await bus.dead_letters())[0].error_type == "CancelledError"


async def test_errors_outside_exception_do_not_vanish(bus):
    """An error that is no Exception is a dead letter, and the subscription goes on."""

    class Odd(BaseException):
        pass

    def handle(_: object) -> None:
        raise Odd

    await bus.subscribe("a", handle)
    await bus.publish("a", 0)
    await bus.publish("a", 1)
    await bus.settle()
    assert [letter.error_type for letter in await bus.dead_letters()] == ["Odd", "Odd"]


async def test_a_payload_that_is_not_json_is_shown_in_its_dead_letter(bus):
    """A dead letter shows a payload that is not JSON by its repr."""

    def handle(_: object) -> None:
        raise ValueError

    await bus.subscribe("a", handle, retry=RetryPolicy(attempts=1))
    await bus.publish("a", asyncio)
    await bus.settle()
    assert (await bus.dead_letters())[0].message.payload() == {"repr": repr(asyncio)}


async def test_redrive_sends_the_payload_itself_again(bus):
    """`redrive` sends dead letters back as first attempts, with the payload as it was published."""
    broken = True
    seen: list[Any] = []

    def handle(payload: object) -> None:
        if broken:
            raise ValueError
        seen.append(payload)

    await bus.subscribe("a", handle, retry=RetryPolicy(attempts=1))
    payloads = [object(), object(), object()]
    for number, payload in enumerate(payloads):
        await bus.publish("a", payload, id=f"id{number}")
    await bus.settle()
    broken = False
    assert await bus.redrive([(await bus.dead_letters())[1].number, 99]) == 1
    await bus.settle()
    assert seen == [payloads[1]]
    assert await bus.redrive() == 2
    await bus.settle()
    assert seen == [payloads[1], payloads[0], payloads[2]]
    assert await bus.dead_letters() == []


async def test_redrive_leaves_what_nobody_hears_any_more(bus):
    """A dead letter whose subscription is closed stays, until one of that name is there again."""

    def handle(_: object) -> None:
        raise ValueError

    subscription = await bus.subscribe("a", handle, name="n", retry=RetryPolicy(attempts=1))
    await bus.publish("a", 1)
    await subscription.close()
    assert await bus.redrive() == 0
    assert len(await bus.dead_letters()) == 1
    seen: list[int] = []
    await bus.subscribe("a", seen.append, name="n")
    assert await bus.redrive() == 1
    await bus.settle()
    assert seen == [1]


async def test_dead_letters_are_bounded():
    """The oldest dead letters fall out; all are counted."""
    async with MessageBus(dead_limit=3) as bus:

        def handle(_: object) -> None:
            raise ValueError

        await bus.subscribe("a", handle, retry=RetryPolicy(attempts=1))
        for number in range(5):
            await bus.publish("a", number)
        await bus.settle()
        assert [letter.message.payload() for letter in await bus.dead_letters()] == [2, 3, 4]
        assert bus.statistics().dead == 5


@pytest.mark.parametrize("options", [{"dedupe_window": 0}, {"dead_limit": 0}])
def test_limits_are_positive(options):
    """A bus that could remember nothing is refused."""
    with pytest.raises(InvalidInput):
        MessageBus(**options)
