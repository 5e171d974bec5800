"""An active mailbox in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from aos.message import REPLY, WAKE, Message
from aos.stores.records import JournalEntry, Lease
from aos.topic import matches

if TYPE_CHECKING:
    from aos.kernel.behaviour import Behaviour
    from aos.kernel.turn import OpenTurn

Item = tuple[int, Message]

IDLE, READY, RUNNING, LEAVING = range(4)


def correlation(seq: int, name: str) -> str:
    """What ties an answer or wake-up to the operation `name` of the turn for message `seq`."""
    return f"{seq}:{name}"


class Cell:
    """A mailbox that this process holds, with its agent. An idle one is a few hundred bytes.

    Messages are in one of four places: `mail` (may have their turn now), `later` (timers that wait for their time),
    `failed` (wait for their next attempt, and keep those of the same sender behind them), `signals` (answers and
    wake-ups for a suspended turn).
    """

    __slots__ = (
        "address",
        "agent",
        "alarm",
        "behaviour",
        "failed",
        "fence",
        "journal",
        "later",
        "mail",
        "overflow",
        "schema",
        "setbacks",
        "signals",
        "state",
        "status",
        "suspended",
        "top",
        "touched",
        "turn",
        "turns",
    )

    def __init__(self, address: str, behaviour: Behaviour, lease: Lease) -> None:
        self.address = address
        self.fence = lease.fence
        self.behaviour = behaviour
        self.agent: Any = None
        self.state = lease.state
        self.schema = lease.schema
        self.turns = lease.turns
        self.status = IDLE
        self.touched = True
        self.top = 0
        self.overflow = False
        self.setbacks = 0
        self.turn: OpenTurn | None = None
        self.alarm: list[Any] | None = None
        self.mail: deque[Item] | None = None
        self.later: dict[int, Message] | None = None
        self.failed: dict[int, Message] | None = None
        self.signals: list[Item] | None = None
        self.journal: dict[int, dict[str, JournalEntry]] | None = None
        self.suspended = 0
        if lease.journal:
            self.journal = {seq: {e.name: e for e in entries} for seq, entries in lease.journal.items()}
            for seq, entries in self.journal.items():
                if any(not e.done and e.kind != "step" for e in entries.values()):
                    self.suspended = seq

    def put(self, seq: int, message: Message, now: Callable[[], float]) -> float | None:
        """Sort a delivered message in. Returns when it is due if that is later than now."""
        if message.name:
            self.forget(message.name)
        if message.not_before == 0.0:
            if message.correlation_id or self.mail is None:
                self._ready(seq, message)
            else:
                self.mail.append((seq, message))
            return None
        if seq == self.suspended and message.attempt > 1:
            self.suspended = 0  # it failed before: it runs again from the top, and waits again if it must
        if message.not_before > now():
            if message.attempt > 1:
                self.put_back(seq, message)
            else:
                self.later = self.later or {}
                self.later[seq] = message
            return message.not_before
        self._ready(seq, message)
        return None

    def _ready(self, seq: int, message: Message) -> None:
        if message.correlation_id and message.type in (REPLY, WAKE) and self._expects(message):
            if self.signals is None:
                self.signals = []
            self.signals.append((seq, message))
        elif self.mail is None:
            self.mail = deque(((seq, message),))
        else:
            self.mail.append((seq, message))

    def _expects(self, message: Message) -> bool:
        """Whether an unfinished turn may wait for this answer; any other is let through, to be thrown away."""
        seq = int(message.correlation_id.partition(":")[0] or 0)
        return (self.turn is not None and self.turn.seq == seq) or seq in (self.journal or ())

    def put_back(self, seq: int, message: Message) -> None:
        """A message waits for its next attempt."""
        self.failed = self.failed or {}
        self.failed[seq] = message

    def put_first(self, seq: int, message: Message) -> None:
        """A message whose turn left memory."""
        self.mail = self.mail if self.mail is not None else deque()
        self.mail.appendleft((seq, message))

    def ripen(self, now: float) -> bool:
        """Move what has become due to its place; a failed message goes before what its sender sent after it."""
        due = [item for item in (self.later or {}).items() if item[1].not_before <= now]
        again = [item for item in (self.failed or {}).items() if item[1].not_before <= now]
        for seq, message in sorted(due, key=lambda item: (item[1].not_before, item[0])):
            if self.later is not None:
                del self.later[seq]
            self._ready(seq, message)
        for seq, message in sorted(again, key=itemgetter(0), reverse=True):
            if self.failed is not None:
                del self.failed[seq]
            self.put_first(seq, message)
        self.later = self.later or None
        self.failed = self.failed or None
        return bool(due or again)

    def next_due(self) -> float | None:
        """When something becomes due, in seconds since the epoch."""
        times = [message.not_before for waiting in (self.later, self.failed) for message in (waiting or {}).values()]
        return min(times, default=None)

    def next(self) -> Item | None:
        """Take the first message whose sender has no failed one waiting; a suspended turn's message goes first."""
        mail = self.mail
        if self.suspended:
            return self._take_suspended()
        if not mail:
            self.mail = None
            return None
        if self.failed is None:
            return mail.popleft()
        blocked = self._blocked()
        for i, item in enumerate(mail):
            if item[1].source not in blocked:
                del mail[i]
                return item
        return None

    def _blocked(self) -> set[str]:
        """The senders whose messages wait behind a failed one."""
        return {message.source for message in (self.failed or {}).values()}

    def _take_suspended(self) -> Item | None:
        if not self.resumable():
            return None
        for i, item in enumerate(self.mail or ()):
            if item[0] == self.suspended and self.mail is not None:
                del self.mail[i]
                return item
        return None

    def resumable(self) -> bool:
        """Whether something is here that the suspended turn waits for."""
        entries = (self.journal or {}).get(self.suspended, {})
        return any(not e.done and self.answer_to(self.suspended, e, take=False) for e in entries.values())

    def seeks(self) -> bool:
        """Whether the suspended turn may wait for a message that is not in memory."""
        entries = (self.journal or {}).get(self.suspended, {})
        return self.overflow and any(entry.pattern and not entry.done for entry in entries.values())

    def answer_to(self, seq: int, entry: JournalEntry, *, take: bool = True) -> Item | None:
        """What ends a wait: its answer or wake-up, or the first waiting message of its pattern."""
        for i, item in enumerate(self.signals or ()):
            if item[1].correlation_id == correlation(seq, entry.name):
                return self._take(self.signals, i) if take else item
        if entry.pattern and self.mail:
            for i, item in enumerate(self.mail):
                if item[0] != seq and _can_end(item[1], entry.pattern):
                    return self._take(self.mail, i) if take else item
        return None

    def give_back(self, item: Item) -> None:
        """What was taken by `answer_to` was not used after all."""
        if item[1].type in (REPLY, WAKE):
            self.signals = [item, *(self.signals or ())]
        else:
            self.mail = deque(sorted([item, *(self.mail or ())], key=itemgetter(0)))

    @staticmethod
    def _take(items: Any, i: int) -> Item:
        item: Item = items[i]
        del items[i]
        return item

    def give_up_signals(self, seq: int) -> None:
        """Nobody waits for the answers to a turn that ended: let them through, to be thrown away."""
        for item in [item for item in self.signals or () if item[1].correlation_id.startswith(f"{seq}:")]:
            if self.signals is not None:
                self.signals.remove(item)
            self.mail = self.mail if self.mail is not None else deque()
            self.mail.append(item)
        self.signals = self.signals or None

    def forget(self, name: str) -> None:
        """A timer or answer of this name is void."""
        for waiting in (self.later, self.failed):
            for seq, message in list((waiting or {}).items()):
                if message.name == name and waiting:
                    del waiting[seq]
        self.failed = self.failed or None
        for items in (self.mail, self.signals):
            for item in [item for item in items or () if item[1].name == name]:
                if items is not None:
                    items.remove(item)

    def runnable(self) -> bool:
        """Whether a turn may begin now."""
        if self.suspended:
            return self.resumable() or self.seeks()
        if self.failed is None or not self.mail or self.overflow:
            return bool(self.mail or self.overflow)
        blocked = self._blocked()
        return any(message.source not in blocked for _, message in self.mail)


def _can_end(message: Message, pattern: str) -> bool:
    """Whether a message may end a wait for a pattern. One that wants an answer, or comes again, needs its own turn."""
    topic = message.type
    if not topic or topic in (REPLY, WAKE) or message.reply_to or message.repeat:
        return False
    return matches(pattern, topic)
