"""What stores take and give: plain frozen records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from aos.message import Message, key_of, kind_of

SINGLE = ""
EACH = "*"

Outcome = Literal["committed", "retry", "dead", "discarded"]


class Kind(msgspec.Struct, frozen=True):
    """A sort of mailbox and what is routed to it.

    Args:
        name: First part of the addresses of its mailboxes.
        patterns: Topics that it hears.
        key: What picks the mailbox: `SINGLE` for one mailbox, `EACH` for one per message (competing consumers),
            otherwise a field of the payload, dots for fields in fields.
        limit: Messages that may wait in one mailbox.
        purpose: What it is for, in a line.
    """

    name: str
    patterns: tuple[str, ...] = ()
    key: str = SINGLE
    limit: int = 10_000
    purpose: str = ""


class JournalEntry(msgspec.Struct, frozen=True, array_like=True):
    """One operation of a turn that must come out the same when the handler runs again.

    Args:
        name: The operation's name and how often the turn used that name before, as `name#0`.
        kind: What it is.
        index: Its place in the order in which the turn began its operations.
        overlapped: Whether another operation of the turn was under way when it began.
        fingerprint: Digest of the arguments, empty when they cannot be digested.
        done: Whether the result is there.
        result: The result's bytes; with `error`, nothing.
        error: What the operation failed with, for the handler to see again.
        at: When this was written, in seconds since the epoch.
        begun: When the turn first began, in seconds since the epoch.
        pattern: For a wait: the topic pattern that ends it.
        detail: What `aos inspect` shows of a wait.
    """

    name: str
    kind: Literal["step", "ask", "sleep", "wait"]
    index: int
    overlapped: bool = False
    fingerprint: bytes = b""
    done: bool = False
    result: bytes = b""
    error: str = ""
    at: float = 0.0
    begun: float = 0.0
    pattern: str = ""
    detail: str = ""


class Lease(msgspec.Struct, frozen=True):
    """What a new owner of a mailbox gets with it.

    Args:
        state: Committed state, None if there is none yet.
        schema: Version of the state's type.
        turns: Turns committed so far.
        journal: Entries of unfinished turns, by the sequence number of the turn's message.
        fence: Fence that the mailbox is held under. It may be delivered before `open` has returned it.
    """

    state: bytes | None = None
    schema: int = 1
    turns: int = 0
    journal: dict[int, list[JournalEntry]] = {}
    fence: int = 0


class DeadLetter(msgspec.Struct, frozen=True):
    """A message that will not be tried again by itself, and why.

    Args:
        number: The number to show, redrive or drop it by; 0 before it is stored.
        address: The mailbox it was in.
        message: The message as it was when it failed last.
        error_type: Class of the last error.
        reason: The last error in a line.
        traceback: The last error's traceback.
        at: When it was given up, in seconds since the epoch.
    """

    address: str
    message: Message
    error_type: str
    reason: str
    traceback: str
    at: float
    number: int = 0


class Turn(msgspec.Struct, frozen=True, gc=False):
    """The outcome of one turn, written whole or not at all.

    Args:
        address: The mailbox.
        fence: The owner's fence when the turn began.
        seq: Sequence number of the message it was for.
        outcome: `committed` takes the message away with everything below; `retry` puts it back with a new attempt
            and time; `dead` moves it to the dead letters; `discarded` only takes it away.
        message: The message, for `retry` as it is to be put back.
        state: The new state; None leaves the state as it is.
        schema: Version of the state's type.
        outgoing: Messages and timers that go out with the commit.
        forget: Names of timers in this mailbox that are taken away.
        dead: For `dead`: the letter.
        has_journal: Whether entries were recorded and must go.
        ends: Whether nothing is to be kept of the mailbox: it was for this message only.
        at: When the turn began, in seconds since the epoch.
        took: How long it took, in seconds.
        error: The error in a line.
    """

    address: str
    fence: int
    seq: int
    outcome: Outcome
    message: Message
    state: bytes | None = None
    schema: int = 1
    outgoing: tuple[Message, ...] = ()
    forget: Sequence[str] = ()
    dead: DeadLetter | None = None
    has_journal: bool = False
    ends: bool = False
    at: float = 0.0
    took: float = 0.0
    error: str = ""


class TurnRecord(msgspec.Struct, frozen=True):
    """One line of history: an attempt at a message.

    Args:
        number: Grows with time, over all agents.
        address: The agent.
        message_id: The message's id.
        topic: The topic it was published on; empty for what was sent directly.
        attempt: Which attempt it was; 1 is the first.
        outcome: What came of it.
        at: When it began, in seconds since the epoch.
        took: How long it took, suspensions included, in seconds.
        sent: Mailboxes that its messages went to.
        error: Its error in a line; empty if it had none.
    """

    number: int
    address: str
    message_id: str
    topic: str
    attempt: int
    outcome: Outcome
    at: float
    took: float
    sent: int
    error: str


class AgentRecord(msgspec.Struct, frozen=True):
    """What a store knows of one mailbox.

    Args:
        address: Its address.
        kind: First part of the address.
        key: The rest, empty for a single agent.
        state: Committed state as plain data, None if there is none.
        schema: Version of the state's type.
        turns: Turns committed so far.
        pending: Messages that wait, timers included.
        dead: Dead letters.
        owner: Fence of the process that holds it, None if nobody does.
        waiting_for: What its suspended turn waits for; empty if none is suspended.
        last_turn_at: When its latest kept turn began, in seconds since the epoch; None if there is none.
        last_error: Error of the latest kept turn; empty if it had none.
    """

    address: str
    kind: str
    key: str
    state: object
    schema: int
    turns: int
    pending: int
    dead: int
    owner: int | None
    waiting_for: str
    last_turn_at: float | None
    last_error: str


def silent_agent(address: str) -> AgentRecord:
    """The record of an agent that never had a message."""
    return AgentRecord(address, kind_of(address), key_of(address), None, 1, 0, 0, 0, None, "", None, "")


class Holder(msgspec.Struct, frozen=True):
    """A process that works on a store.

    Args:
        fence: Its number; a later one is higher.
        pid: Process id.
        host: Machine, boot and process namespace, so that a process id can be looked up only where it means something.
        started: Seconds since the epoch.
        expires: When its leases end unless it renews them, in seconds since the epoch.
        kinds: The kinds of mailbox that it runs.
        stopping: Whether it was asked to stop.
    """

    fence: int
    pid: int
    host: str
    started: float
    expires: float
    kinds: tuple[str, ...]
    stopping: bool = False


class StoreStatistics(msgspec.Struct, frozen=True):
    """How much is in a store."""

    agents: int
    pending: int
    dead: int
    turns_kept: int
    journal: int
    size: int
    """Bytes in use."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a store keeps.

    Args:
        history_count: Turns kept for each agent; 0 keeps none.
        history_age: Age up to which turns are kept, in seconds.
        history_total: Turns kept in all.
        dead: Dead letters kept; one more is refused, and its message stays in its mailbox.
        dedupe_age: How long a given message id is remembered, in seconds.
        window: Messages of one mailbox that are handed out ahead of their turn.
    """

    history_count: int = 100
    history_age: float = 30 * 86_400.0
    history_total: int = 100_000
    dead: int = 100_000
    dedupe_age: float = 7 * 86_400.0
    window: int = 256
