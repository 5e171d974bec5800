"""What is in a memory store: mailboxes, holders, routes, history."""

from __future__ import annotations

import itertools
from typing import Any

from aos.message import Message
from aos.stores.port import Inbox
from aos.stores.records import DeadLetter, Holder, JournalEntry, Limits, Turn
from aos.stores.routes import Routes


class Box:
    """A mailbox with the state of its agent."""

    __slots__ = ("fence", "journal", "mail", "names", "schema", "state", "turns", "waits")

    def __init__(self) -> None:
        self.fence: int | None = None
        self.mail: dict[int, Message] | None = None
        self.names: dict[str, int] | None = None
        self.state: bytes | None = None
        self.schema = 1
        self.turns = 0
        self.journal: dict[int, dict[str, JournalEntry]] | None = None
        self.waits: dict[tuple[int, str], str] | None = None


class Memory:
    """What several `MemoryStore`s share, as processes share a file."""

    def __init__(self) -> None:
        self.boxes: dict[str, Box] = {}
        self.free: dict[str, float] = {}
        self.held: dict[int, set[str]] = {}
        self.holders: dict[int, Holder] = {}
        self.inboxes: dict[int, Inbox] = {}
        self.leases: dict[int, float] = {}
        self.routes = Routes()
        self.history: dict[str, list[tuple[Any, ...]]] = {}
        """Fields of `TurnRecord`s, the number first."""
        self.kept = 0
        self.dead: dict[int, DeadLetter] = {}
        self.seen: dict[str, float] = {}
        self.stopping: set[int] = set()
        self.numbers = itertools.count(1)
        self.writer = 0
        self.writes = 0

    def remember(self, turn: Turn, sent: int, limits: Limits) -> None:
        """Keep a line of history, within its bounds."""
        keep, message, address = limits.history_count, turn.message, turn.address
        kept = self.history.get(address)
        if kept is None:
            kept = self.history[address] = []
        kept.append(
            (
                next(self.numbers),
                address,
                message.id,
                message.type,
                message.attempt - (turn.outcome == "retry"),
                turn.outcome,
                turn.at,
                turn.took,
                sent,
                turn.error,
            )
        )
        self.kept += 1
        if len(kept) >= 2 * keep:
            self.kept -= len(kept) - keep
            del kept[:-keep]
        if self.kept > limits.history_total:
            self._compact(limits.history_total)

    def _compact(self, total: int) -> None:
        """Forget the history of the agents that were quiet for longest, down to nine tenths of what may be kept."""
        for address in sorted(self.history, key=lambda address: self.history[address][-1][0]):
            self.kept -= len(self.history.pop(address))
            if self.kept <= 0.9 * total:
                return
