"""Every error that AOS raises, drawn as a tree.

AOSError
├── InvalidInput            the caller gave something that cannot be taken
│   ├── InvalidTopic
│   ├── InvalidPayload
│   ├── PayloadTooLarge
│   ├── InvalidAgent
│   ├── UnknownAgent
│   └── OrchestrationError  (in aos.orchestration) an orchestration cannot be run as it was asked for
├── StoreError              the durable store cannot do what was asked
│   ├── StoreUnavailable
│   ├── StoreFormatTooNew
│   ├── StoreCorrupt
│   ├── StoreFull
│   ├── StoreClosed
│   ├── StaleFence
│   ├── MailboxFull
│   └── DeadLettersFull
├── TurnError               a turn could not go on
│   ├── HandlerTimeout
│   ├── DeadlinePassed
│   ├── NoHandler
│   ├── StateTooLarge
│   ├── StepMismatch
│   ├── StepOutcomeUnknown
│   ├── AskCycle
│   ├── AskFailed
│   └── AskTimeout
└── MeasurementFailed       (in aos.coding) the tools that measure code could not be run

The text of an error is one line that says what to do. What a program needs is in attributes.
"""

from __future__ import annotations

from typing import ClassVar


class AOSError(Exception):
    """Something in AOS went wrong."""

    exit_status: ClassVar[int] = 1

    def __init__(self, text: str | None = None) -> None:
        super().__init__(text or type(self).__doc__)


class InvalidInput(AOSError):
    """The input cannot be taken as it is; nothing was changed."""

    exit_status = 2


class InvalidTopic(InvalidInput):
    """A topic or pattern has an illegal form. A topic that nobody hears is no error: `publish` returns 0."""

    def __init__(self, topic: str, why: str) -> None:
        super().__init__(f"topic {topic!r} {why}")
        self.topic = topic


class InvalidPayload(InvalidInput):
    """A payload does not encode, parse or fit the handler's annotation."""


class PayloadTooLarge(InvalidInput):
    """A payload is larger than the limit, in bytes."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(
            f"the payload has {size:,} bytes, the limit is {limit:,}: send a reference, or raise payload_limit"
        )
        self.size = size
        self.limit = limit


class InvalidAgent(InvalidInput):
    """An agent's declaration is wrong: its handlers, key, state or name."""


class UnknownAgent(InvalidInput):
    """No agent has this address. For a message that no handler of an agent takes see `NoHandler`."""

    def __init__(self, address: str, known: tuple[str, ...] = ()) -> None:
        names = ", ".join(sorted(known)[:10]) or "none are registered"
        super().__init__(f"no agent is called {address!r} (known: {names})")
        self.address = address
        self.known = known


class StoreError(AOSError):
    """The durable store cannot do what was asked."""

    exit_status = 3


class StoreUnavailable(StoreError):
    """The store cannot be opened, read or written: its path, its rights or a lock is in the way."""


class StoreFormatTooNew(StoreError):
    """A newer AOS wrote this store."""

    def __init__(self, where: str, found: int, known: int) -> None:
        super().__init__(
            f"{where} has store format {found}, this AOS knows up to {known}: "
            "upgrade AOS, or name another file with --store"
        )
        self.found = found
        self.known = known


class StoreCorrupt(StoreError):
    """The store's file is damaged or is no AOS store."""


class StoreFull(StoreError):
    """No room is left where the store is. Nothing was changed; free some space and go on."""


class StoreClosed(StoreError):
    """The store is closed."""


class StaleFence(StoreError):
    """Another process took over what this one held: the turn's outcome is discarded."""


class MailboxFull(StoreError):
    """A mailbox is at its limit. The message was not accepted: wait and send it again."""

    def __init__(self, address: str, limit: int) -> None:
        super().__init__(f"the mailbox of {address!r} holds its limit of {limit:,} messages: wait and send again")
        self.address = address
        self.limit = limit


class DeadLettersFull(StoreError):
    """There are as many dead letters as may be kept. What would become one more stays where it is."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"there are {limit:,} dead letters, the limit: redrive or drop some (aos dead)")
        self.limit = limit


class TurnError(AOSError):
    """A turn could not go on."""


class HandlerTimeout(TurnError):
    """A handler ran longer than its time-out and was cancelled."""

    def __init__(self, handler: str, seconds: float) -> None:
        super().__init__(f"{handler} ran longer than its time-out of {seconds:g} s and was cancelled")
        self.handler = handler
        self.seconds = seconds


class DeadlinePassed(TurnError):
    """A message's deadline was over before its turn began. For a handler that took too long see `HandlerTimeout`."""


class NoHandler(TurnError):
    """An agent has no handler for a message that reached it."""


class StateTooLarge(TurnError):
    """An agent's state grew past its limit, in bytes; the turn was not committed."""

    def __init__(self, address: str, size: int, limit: int) -> None:
        super().__init__(
            f"the state of {address!r} would have {size:,} bytes, its limit is {limit:,}: "
            "keep less, or raise state_limit on the agent"
        )
        self.size = size
        self.limit = limit


class StepMismatch(TurnError):
    """A handler replays other steps than those that were recorded: its code changed in between."""


class StepOutcomeUnknown(TurnError):
    """A step that may run once only was started, and its result was never recorded."""

    def __init__(self, name: str, idempotency_key: str) -> None:
        super().__init__(
            f"step {name!r} was started and its result was never recorded: find out what happened "
            f"(idempotency key {idempotency_key!r}), then go on in the handler"
        )
        self.name = name
        self.idempotency_key = idempotency_key


class AskCycle(TurnError):
    """An agent asked an agent that waits for it."""

    def __init__(self, chain: tuple[str, ...]) -> None:
        super().__init__(f"these agents would wait for each other for ever: {' -> '.join(chain)}")
        self.chain = chain


class AskFailed(TurnError):
    """The agent that was asked failed; its error is in the text."""


class AskTimeout(TurnError, TimeoutError):
    """No answer, or no event, came in time."""
