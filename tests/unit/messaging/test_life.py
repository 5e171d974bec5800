"""Beginning, closing and the end of a bus."""

import asyncio
import contextvars
import gc
import logging

import pytest

from aos.errors import AOSError, InvalidInput, StoreClosed
from aos.messaging import MessageBus
from aos.resilience import RetryPolicy


def others() -> set[asyncio.Task[None]]:
    """Tasks besides this test's."""
    return asyncio.all_tasks() - {asyncio.current_task()}


async def test_it_begins_by_itself():
    """A bus that was not initialised begins on first use."""
    bus, heard = MessageBus(), []
    await bus.subscribe("a", heard.append)
    await bus.publish("a", 1)
    await bus.cleanup()
    assert heard == [1]


async def test_initialize_and_cleanup_as_often_as_one_likes():
    """`initialize` twice, `cleanup` twice and `cleanup` before `initialize` are harmless."""
    bus = MessageBus()
    await bus.cleanup()
    await bus.initialize()
    await bus.initialize()
    await bus.cleanup()
    await bus.cleanup()


async def test_an_idle_bus_has_no_tasks(bus):
    """Subscriptions cost no task while nothing is to do."""
    for _ in range(5):
        await bus.subscribe("a", lambda _: None)
    assert not others()
    await bus.publish("a", 1)
    assert len(others()) == 5
    await bus.settle()
    assert not others()


async def test_cleanup_handles_what_was_accepted():
    """Everything that was published before `cleanup` is handled, and what handlers publish then, too."""
    bus, heard = MessageBus(), []

    async def relay(number: int) -> None:
        await asyncio.sleep(0)
        await bus.publish("b", number)

    await bus.subscribe("a", relay)
    await bus.subscribe("b", heard.append)
    for number in range(10):
        await bus.publish("a", number)
    await bus.cleanup()
    assert heard == list(range(10))
    assert not others()


async def test_cleanup_makes_retries_at_once():
    """A message that waits for its retry time is tried again without delay, up to its attempts."""
    bus, seen = MessageBus(), []

    def handle(number: int) -> None:
        seen.append(number)
        raise OSError

    await bus.subscribe("a", handle, retry=RetryPolicy(attempts=3, base=1_000))
    await bus.publish("a", 1)
    await bus.settle()
    assert seen == [1]
    await bus.cleanup()
    assert seen == [1, 1, 1]
    assert len(await bus.dead_letters()) == 1


async def test_cleanup_cancels_at_its_deadline(caplog):
    """What is not done by the deadline is cancelled and becomes a dead letter, as does what was not begun."""
    bus, cancelled = MessageBus(), asyncio.Event()

    async def hang(_: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    await bus.subscribe("a", hang)
    await bus.publish("a", 1)
    await bus.publish("a", 2)
    with caplog.at_level(logging.ERROR, "aos.messaging"):
        await bus.cleanup(deadline=1e-6)
    assert cancelled.is_set()
    assert not others()
    assert {letter.message.payload() for letter in await bus.dead_letters()} == {1, 2}
    assert all("cleaned up" in letter.reason for letter in await bus.dead_letters())


async def test_a_cancelled_cleanup_still_ends_everything():
    """Cancelling `cleanup` skips the wait: no task is left."""
    bus = MessageBus()
    await bus.subscribe("a", lambda _: asyncio.Event().wait())
    await bus.publish("a", 1)
    async with asyncio.TaskGroup() as group:
        cleaning = group.create_task(bus.cleanup(deadline=None))
        for _ in range(3):
            await asyncio.sleep(0)
        cleaning.cancel()
    assert not others()


async def test_two_cleanups_at_once_end_together():
    """A second `cleanup` waits for the first."""
    bus, heard = MessageBus(), []
    gate = asyncio.Event()

    async def handle(number: int) -> None:
        await gate.wait()
        heard.append(number)

    await bus.subscribe("a", handle)
    await bus.publish("a", 1)
    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(bus.cleanup()).add_done_callback(lambda _: heard.append("cleaned"))
        await asyncio.sleep(0)
        gate.set()
    assert heard == [1, "cleaned", "cleaned"]


async def test_use_after_cleanup_is_an_error():
    """A bus that was cleaned up refuses everything, until it is initialised anew."""
    bus = MessageBus()
    subscription = await bus.subscribe("a", lambda _: 1)
    await bus.cleanup()
    for use in (bus.publish("a", 1), bus.request("a", 1), bus.subscribe("a", print), bus.redrive()):
        with pytest.raises(StoreClosed, match="initialize"):
            await use
    await subscription.close()
    await bus.settle()
    await bus.initialize()
    assert await bus.publish("a", 1) == 0
    await bus.cleanup()


async def test_cleanup_refuses_new_messages_but_not_those_of_handlers():
    """While `cleanup` waits, messages come from handlers only."""
    bus, gate, heard = MessageBus(), asyncio.Event(), []

    async def handle(_: int) -> None:
        await gate.wait()
        await bus.publish("b", 1)

    await bus.subscribe("a", handle)
    await bus.subscribe("b", heard.append)
    await bus.publish("a", 1)
    async with asyncio.TaskGroup() as group:
        group.create_task(bus.cleanup())
        await asyncio.sleep(0)
        with pytest.raises(StoreClosed):
            await bus.publish("b", 2)
        gate.set()
    assert heard == [1]


async def test_cleanup_answers_who_waits():
    """A publisher that waits for room and one that waits for an answer get an error at the end, not silence."""
    bus = MessageBus()

    async def hang(_: int) -> None:
        await asyncio.Event().wait()

    await bus.subscribe("a", hang, max_pending=1)
    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(_error_of(bus.request("a", number))) for number in range(2)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        waiting += [group.create_task(_error_of(bus.publish("a", number))) for number in range(2)]
        await asyncio.sleep(0)
        await bus.cleanup(deadline=1e-6)
    assert [each.result() for each in waiting] == ["AskFailed", "AskFailed", "StoreClosed", "StoreClosed"]


async def _error_of(use):
    try:
        await use
    except AOSError as error:
        return type(error).__name__


async def test_cleanup_and_settle_inside_a_handler(bus):
    """A handler that would wait for its own end gets an error that says so."""
    errors: list[str] = []

    async def handle(_: int) -> None:
        for use in (bus.cleanup(), bus.settle()):
            try:
                await use
            except InvalidInput as error:
                errors.append(str(error))

    await bus.subscribe("a", handle)
    await bus.publish("a", 1)
    await bus.settle()
    assert len(errors) == 2
    assert all("inside a handler" in error for error in errors)


def test_another_loop_is_an_error():
    """A bus belongs to one event loop; on another, everything says so."""
    bus = MessageBus()

    async def begin() -> None:
        await bus.subscribe("a", lambda _: None)

    asyncio.run(begin())

    async def elsewhere() -> None:
        for use in (bus.publish("a", 1), bus.request("a", 1), bus.subscribe("a", print), bus.cleanup(), bus.settle()):
            with pytest.raises(InvalidInput, match="another event loop, which is closed"):
                await use

    asyncio.run(elsewhere())


def test_a_bus_that_is_never_cleaned_up_leaves_nothing_behind():
    """A loop that ends with an idle bus on it has no task to destroy, and the bus goes with its last reference."""

    async def use() -> None:
        bus = MessageBus()
        await bus.subscribe("a", lambda _: None)
        await bus.publish("a", 1)
        await bus.settle()

    asyncio.run(use())
    gc.collect()


def test_a_loop_that_ends_in_the_middle_keeps_the_message(caplog):
    """A message whose handler is cancelled with the loop becomes a dead letter."""
    bus = MessageBus()

    async def use() -> None:
        await bus.subscribe("a", lambda _: asyncio.Event().wait())
        await bus.publish("a", 1)
        await asyncio.sleep(0)

    asyncio.run(use())
    assert [letter.error_type for letter in asyncio.run(bus.dead_letters())] == ["CancelledError"]


async def test_a_cancelled_pump_does_not_stop_its_subscription(bus):
    """If somebody cancels a task of the bus, even one that has not begun, what follows is handled."""
    heard: list[int] = []
    await bus.subscribe("a", heard.append)
    await bus.publish("a", 1)
    for task in others():
        task.cancel()
    await bus.settle()
    await bus.publish("a", 2)
    await bus.settle()
    assert heard == [1, 2]


async def test_close_handles_what_was_heard(bus):
    """A closed subscription handles what it heard before, and nothing after; closing twice is harmless."""
    heard: list[int] = []

    async def handle(number: int) -> None:
        await asyncio.sleep(0)
        heard.append(number)

    async with await bus.subscribe("a", handle) as subscription:
        for number in range(3):
            await bus.publish("a", number)
    assert heard == [0, 1, 2]
    assert await bus.publish("a", 3) == 0
    await subscription.close()
    assert heard == [0, 1, 2]


async def test_a_handler_closes_its_own_subscription(bus):
    """A handler may close its own subscription; it does not wait for itself."""
    heard: list[int] = []

    async def handle(number: int) -> None:
        heard.append(number)
        await subscription.close()

    subscription = await bus.subscribe("a", handle)
    await bus.publish("a", 1)
    await bus.settle()
    assert await bus.publish("a", 2) == 0
    assert heard == [1]


async def test_a_handler_subscribes(bus):
    """A handler may subscribe, and the new subscription hears what comes after."""
    heard: list[int] = []

    async def handle(number: int) -> None:
        await bus.subscribe("b", heard.append)
        await bus.publish("b", number)

    await bus.subscribe("a", handle)
    await bus.publish("a", 1)
    await bus.settle()
    assert heard == [1]


async def test_one_of_several_leaves(bus):
    """When one of those that compete closes, the others get everything."""
    first, second = [], []
    leaving = await bus.subscribe("a", first.append, name="n")
    await bus.subscribe("a", second.append, name="n")
    await bus.publish("a", 0)
    await bus.settle()
    await leaving.close()
    for number in range(1, 4):
        await bus.publish("a", number)
    await bus.settle()
    assert (first, second) == ([0], [1, 2, 3])


async def test_a_name_is_free_after_closing(bus):
    """A name may be taken again while the old subscription still empties its mailbox, and cleanup waits for both."""
    gate, heard = asyncio.Event(), []

    async def handle(number: int) -> None:
        await gate.wait()
        heard.append(number)

    old = await bus.subscribe("a", handle, name="n")
    await bus.publish("a", 1)
    async with asyncio.TaskGroup() as group:
        group.create_task(old.close())
        await asyncio.sleep(0)
        await bus.subscribe("b", heard.append, name="n")
        await bus.publish("b", 2)
        gate.set()
        await bus.cleanup()
    assert sorted(heard) == [1, 2]


async def test_a_handler_that_ignores_cancellation_is_named(caplog, monkeypatch):
    """`cleanup` names a handler that goes on although it was cancelled, and waits for it."""
    monkeypatch.setattr("aos.messaging.local.GRACE", 1e-6)
    bus, ignored = MessageBus(), []

    async def stubborn(_: int) -> None:
        while len(ignored) < 3:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                ignored.append(1)

    await bus.subscribe("a", stubborn, name="stubborn")
    await bus.publish("a", 1)
    await bus.cleanup(deadline=1e-6)
    assert "stubborn goes on" in caplog.text
    assert not others()


async def test_handlers_run_in_the_context_of_subscribe(bus):
    """A handler sees the context variables of `subscribe`, not those of whoever published."""
    who: contextvars.ContextVar[str] = contextvars.ContextVar("who")
    seen: list[str] = []
    who.set("subscriber")
    await bus.subscribe("a", lambda _: seen.append(who.get()))
    who.set("publisher")
    await bus.publish("a", 1)
    await bus.settle()
    assert seen == ["subscriber"]
