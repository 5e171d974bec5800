"""`MessageBus`: publish, subscribe and request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from aos.entropy import Entropy
from aos.errors import InvalidInput
from aos.messaging.local import LocalBus
from aos.messaging.records import BusStatistics
from aos.messaging.subscription import Subscription
from aos.resilience.retry import RetryPolicy
from aos.stores.records import DeadLetter

if TYPE_CHECKING:
    from aos.messaging.durable import DurableBus
    from aos.stores import DurableStore

Handler = Callable[[Any], Any]


class MessageBus:
    """Topics, and the handlers that hear them.

    Without a store, everything is in this process. A payload is handed over by reference: whoever changes one changes
    it for every handler. Each subscription has a bounded mailbox and gets its messages in the order in which they were
    published; what is not handled when the process ends is gone.

    On a store, `publish` returns when the message is written. Subscriptions have names, by which they find what arrived
    while nobody listened, in whichever process takes up the name. A message is acknowledged by the commit of its
    handler's turn, together with what the handler published; a handler that raises, or dies with its process,
    has published nothing, and gets the message again.

    The bus begins by itself on first use. `cleanup`, or `async with`, ends it. It belongs to one event loop.

    Args:
        store: `sqlite:PATH`, `memory:`, or a store of its own.
        dedupe_window: In memory: how many message ids given to `publish` are remembered.
        dead_limit: In memory: how many dead letters are kept; the oldest fall out.
        patience: On a store: seconds that `publish` waits for room in a full mailbox. In memory it waits as long as it
            takes.
        entropy: Where new ids and the jitter of retries come from.

    Example:
        async with MessageBus() as bus:
            await bus.subscribe("orders.*", handle)
            await bus.publish("orders.new", {"sku": "A1"})
            await bus.settle()
    """

    def __init__(
        self,
        *,
        store: str | DurableStore | None = None,
        dedupe_window: int = 10_000,
        dead_limit: int = 1_000,
        patience: float = 30.0,
        entropy: Entropy | None = None,
    ) -> None:
        if dedupe_window < 1 or dead_limit < 1:
            raise InvalidInput("dedupe_window and dead_limit are at least 1")
        entropy = entropy or Entropy()
        self._bus: LocalBus | DurableBus
        if store is None:
            self._bus = LocalBus(dedupe=dedupe_window, dead_limit=dead_limit, entropy=entropy)
        else:
            from aos.messaging.durable import DurableBus  # noqa: PLC0415 - the kernel is loaded by who uses it

            self._bus = DurableBus(store, entropy=entropy, patience=patience)

    async def initialize(self) -> None:
        """Begin on the running loop. Once more is harmless; after `cleanup` it begins anew, without subscriptions."""
        await self._bus.initialize()

    async def subscribe(
        self,
        topic: str,
        handler: Handler,
        *,
        name: str | None = None,
        concurrency: int = 1,
        ordered: bool | None = None,
        max_pending: int = 1_000,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - it is immutable
        timeout: float | None = None,
    ) -> Subscription:
        """Have a handler called for each message on a topic.

        The handler is a function, async or not, that takes the payload, or the `Message` if its parameter is
        annotated so. A payload that does not fit any other annotation becomes a dead letter. A handler that raises is
        tried again as `retry` says, while what follows waits, and then its message becomes a dead letter.

        Args:
            topic: A topic, or a pattern with `*` for one part and `>` for one or more at the end.
            handler: In memory it runs in the context (`contextvars`) of this call.
            name: Subscriptions of one name compete: each message goes to one of them. Needed on a store.
            concurrency: How many messages are handled at once; above 1 they overtake each other.
            ordered: On a store: whether all processes together handle one message at a time, in the order of their
                publisher, so that one of them works while the others stand by. By default so if `concurrency` is 1.
            max_pending: How many messages may wait; `publish` waits while there are more.
            retry: When a failed message is tried again.
            timeout: Seconds after which an async handler is cancelled, which is a failure; None for no limit.

        Raises:
            InvalidTopic: The topic has an illegal form.
            InvalidInput: The handler cannot take a message, or an option is out of range.
        """
        if concurrency < 1 or max_pending < 1 or (timeout is not None and timeout <= 0):
            raise InvalidInput("concurrency and max_pending are at least 1, timeout is above 0 or None")
        if name == "":
            raise InvalidInput("a subscription's name is not empty")
        if ordered and concurrency > 1:
            raise InvalidInput("what is handled several at a time is not ordered: leave ordered or concurrency away")
        return await self._bus.subscribe(
            topic,
            handler,
            name=name,
            concurrency=concurrency,
            ordered=concurrency == 1 if ordered is None else ordered,
            max_pending=max_pending,
            retry=retry,
            timeout=timeout,
        )

    async def publish(self, topic: str, payload: Any, *, id: str | None = None) -> int:
        """Send a message to all who hear its topic; returns how many mailboxes it reached.

        Waits while one of them is full. It then gets into all or, if the wait is cancelled, into none.

        Within a handler of a bus on a store, a message without `id` goes out when the handler's turn is committed.

        Args:
            topic: Names divided by dots.
            payload: Anything. It should be JSON, a dataclass, a pydantic model or a msgspec struct if handlers ask for
                a `Message` or another type than it has.
            id: A message whose id was accepted before is left out (0 is returned).

        Raises:
            InvalidTopic: The topic has an illegal form.
            MailboxFull: A mailbox is full, and in memory it can be emptied only by the handler that publishes, on a
                store it was not emptied in time.
        """
        reached = self._bus.accept(topic, payload, id)
        return reached if isinstance(reached, int) else await reached

    async def request(self, topic: str, payload: Any, *, timeout: float | None = 30.0) -> Any:
        """Send a message and wait for its answer: the first result other than None that a handler returns.

        None is the answer when all handlers returned it. On a store, a handler's request is recorded: when the handler
        has to run again, it gets the answer that it got before.

        Args:
            topic: Names divided by dots.
            payload: As for `publish`.
            timeout: Seconds to wait, None for no limit. What was not begun by then is a dead letter.

        Raises:
            NoHandler: Nobody hears the topic.
            AskFailed: Handlers gave up and none answered; the first error is its `__cause__`.
            AskTimeout: No answer came in time.
            AskCycle: The handlers that could answer wait for the one that asks.
        """
        if timeout is not None and timeout <= 0:
            raise InvalidInput("timeout is above 0 or None")
        return await self._bus.request(topic, payload, timeout)

    async def settle(self) -> None:
        """Wait until nothing is left to do now: what remains, if anything, waits for its retry time."""
        await self._bus.settle()

    async def cleanup(self, *, deadline: float | None = 10.0) -> None:
        """Handle what was accepted, then end every task of the bus. Harmless before `initialize`, and twice.

        New messages are refused at once, except from handlers. Retries are made without delay. On a store only the
        handlers that run are waited for: everything else stays in the store.

        Args:
            deadline: Seconds after which what is left is cancelled; in memory it becomes dead letters, on a store it
                stays. None for no limit.
        """
        await self._bus.cleanup(deadline)

    def statistics(self) -> BusStatistics:
        """What the bus has done so far."""
        return self._bus.statistics()

    async def dead_letters(self, *, limit: int = 1_000) -> list[DeadLetter]:
        """Messages that were given up, oldest first; `address` begins with the subscription's name."""
        return await self._bus.dead_letters(limit)

    async def redrive(self, numbers: Sequence[int] | None = None) -> int:
        """Send dead letters back to their subscriptions, as first attempts; returns how many.

        Those whose subscription is closed stay.

        Args:
            numbers: Which; None for all.
        """
        return await self._bus.redrive(numbers)

    async def forget(self, name: str) -> None:
        """End a named subscription for good: nothing more is kept for it in the store, and its handlers are closed.

        A name that nobody takes up any more fills its mailbox, and then `publish` waits for room in vain.
        """
        await self._bus.forget(name)

    async def __aenter__(self) -> Self:
        await self.initialize()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.cleanup()
