"""The `Store` port: where messages, states, timers and step results are durable.

Two sets of verbs. `Store` is what the kernel needs to run turns. `Inspection` is what a person needs to look at a
store and to put things right in it. An AOS store offers both; `aos.testing` ships the contract that it must pass.

A store is opened with an `Inbox`, the kernel's end, into which it drops each message whose mailbox it has leased to
this process, in the order in which they were written. (Handing them back from `append` instead would lose them when
the caller is cancelled between the write and its return.)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from aos.message import Message
from aos.stores.records import (
    AgentRecord,
    DeadLetter,
    Holder,
    JournalEntry,
    Kind,
    Lease,
    StoreStatistics,
    Turn,
    TurnRecord,
)


class Inbox(Protocol):
    """Takes what a store delivers. Its methods run in the loop, must not wait and must not raise."""

    def deliver(self, address: str, seq: int, message: Message | None, lease: Lease | None) -> None:
        """A message of a mailbox that this process owns.

        `lease` is there when the mailbox has just been leased: whatever was known of it before is void. `message` is
        None when there is a lease and nothing else.
        """

    def overflow(self, address: str) -> None:
        """More waits in an owned mailbox than was delivered: ask for it with `load`."""

    def look(self) -> None:
        """Something may be there for `claim`."""

    def revoked(self) -> None:
        """Another process took over all that this one owned: stop its turns, then `open` again."""


class Store(Protocol):
    """Durable mailboxes, states, timers and journals. One object serves one process."""

    @property
    def url(self) -> str:
        """How to name this store on a command line."""

    @property
    def poll(self) -> float | None:
        """How often, in seconds, to ask `due` whether other processes wrote; None if the store tells by `look`."""

    async def open(self, inbox: Inbox | None = None, *, lease: float = 10.0, capacity: int = 10_000) -> int:
        """Begin to hold mailboxes, for `lease` seconds after each `claim`; returns the fence.

        Args:
            inbox: Where deliveries go; None for a process that only appends and looks.
            lease: Seconds after which another process may take over from one that is silent.
            capacity: Mailboxes to hold at most.
        """

    async def declare(self, kinds: Sequence[Kind], *, run: bool = True) -> None:
        """Make kinds known, replacing what was known of them; with `run` this process takes their mailboxes."""

    async def append(self, messages: Sequence[Message], *, once: bool = False) -> int:
        """Accept messages, all or none; returns how many mailboxes they reached.

        Args:
            messages: A message with a subject goes there, one without goes where its topic is heard.
            once: Leave out messages whose id was accepted before.

        Raises:
            UnknownAgent: A subject's kind was never declared.
            MailboxFull: A mailbox is at its limit.
        """

    async def claim(self) -> None:
        """Renew this process's lease, take over from dead ones, and deliver all that is due and free."""

    async def load(self, address: str, after: int) -> None:
        """Deliver the messages of an owned mailbox whose sequence number is above `after`."""

    async def commit(self, turn: Turn) -> None:
        """Write a turn's outcome in one atomic write.

        Raises:
            StaleFence: Another process owns the mailbox; nothing was written.
            MailboxFull: A mailbox it sends to is at its limit; nothing was written.
            DeadLettersFull: The message was to become a dead letter, and there is no room; nothing was written.
        """

    async def record(
        self,
        address: str,
        fence: int,
        seq: int,
        entry: JournalEntry,
        *,
        outgoing: Sequence[Message] = (),
        consumed: int = 0,
        forget: Sequence[str] = (),
    ) -> None:
        """Write a journal entry of an unfinished turn, with messages that go out and one that is used up by it."""

    async def release(self, addresses: Iterable[tuple[str, bool]], fence: int) -> list[str]:
        """Give up idle mailboxes; returns those given up. One that has something due is kept.

        Args:
            addresses: Addresses, each with whether a suspended turn is in it: that one waits for timers and answers
                only.
            fence: The owner's fence.
        """

    async def due(self) -> tuple[float | None, bool]:
        """When the next free mailbox has something to do, and whether another process wrote since `claim`."""

    async def stop_requested(self) -> bool:
        """Whether this process was asked to stop."""

    async def statistics(self) -> StoreStatistics:
        """How much is in the store."""

    async def close(self) -> None:
        """Finish what was accepted, give up everything that is held, and close. Closing twice is harmless."""


class Inspection(Protocol):
    """Looking at a store, and the few things that a person changes in it."""

    async def agents(
        self, *, kind: str = "", prefix: str = "", after: str = "", limit: int = 1000
    ) -> list[AgentRecord]:
        """Mailboxes in the order of their addresses."""

    async def agent(self, address: str) -> AgentRecord | None:
        """One mailbox, None if it never had a message."""

    async def turns(self, *, address: str = "", after: int = 0, limit: int = 100) -> list[TurnRecord]:
        """Kept turns in the order they ended: those above number `after`, or with `after=0` the latest `limit`."""

    async def pending(self, address: str, *, limit: int = 100) -> list[Message]:
        """Messages that wait in a mailbox, in order."""

    async def kinds(self) -> list[Kind]:
        """All kinds that were declared."""

    async def dead_letters(
        self, *, address: str = "", numbers: Sequence[int] = (), limit: int = 100
    ) -> list[DeadLetter]:
        """Dead letters, oldest first."""

    async def redrive(self, numbers: Sequence[int]) -> int:
        """Put dead letters back into their mailboxes as first attempts; returns how many."""

    async def drop(self, numbers: Sequence[int]) -> int:
        """Throw dead letters away; returns how many."""

    async def holders(self) -> list[Holder]:
        """The processes that hold mailboxes."""

    async def request_stop(self, fences: Sequence[int] = ()) -> int:
        """Ask processes (all, if none are named) to stop; returns how many were asked."""


class DurableStore(Store, Inspection, Protocol):
    """What AOS's own stores are."""
