"""The store in memory: as exact as the durable ones while the process lives."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn

import msgspec

from aos.clock import wall_clock
from aos.errors import DeadLettersFull, MailboxFull, StaleFence, StoreClosed
from aos.message import REPLY, WAKE, Message, answers_address, is_answers, kind_of
from aos.stores.memory_box import Box, Memory
from aos.stores.memory_look import MemoryLook
from aos.stores.port import Inbox
from aos.stores.records import (
    EACH,
    DeadLetter,
    Holder,
    JournalEntry,
    Kind,
    Lease,
    Limits,
    Turn,
)

Placed = list[tuple[str, "Box | None", Message]]


class MemoryStore(MemoryLook):
    """Everything in this process's memory; gone when it ends.

    Args:
        limits: What is kept.
        shared: The memory of another `MemoryStore`, to act as a second process on it.
    """

    url = "memory:"
    poll = None

    def __init__(self, *, limits: Limits | None = None, shared: Memory | None = None) -> None:
        self.memory = shared or Memory()
        self.limits = limits or Limits()
        self._fence = 0
        self._kinds: set[str] = set()
        self._capacity = 0
        self._held: set[str] = set()
        self._claimed_at = 0
        self._closed = False
        self._now: Callable[[], float] = float

    # -- the runtime's verbs

    async def open(self, inbox: Inbox | None = None, *, lease: float = 10.0, capacity: int = 10_000) -> int:
        memory = self.memory
        self._now = wall_clock()
        self._closed = False
        if self._fence:
            self._bury(self._fence)
        self._fence = next(memory.numbers)
        self._held = memory.held[self._fence] = set()
        if inbox is not None:
            now = self._now()
            memory.inboxes[self._fence] = inbox
            memory.leases[self._fence] = lease
            memory.holders[self._fence] = Holder(self._fence, os.getpid(), "memory", now, now + lease, ())
            self._capacity = capacity
            answers = memory.boxes[answers_address(self._fence)] = Box()
            answers.fence = self._fence
            self._held.add(answers_address(self._fence))
        return self._fence

    async def declare(self, kinds: Sequence[Kind], *, run: bool = True) -> None:
        self._check_open()
        for kind in kinds:
            self.memory.routes.declare(kind)
        if run:
            self._kinds.update(kind.name for kind in kinds)
            if holder := self.memory.holders.get(self._fence):
                self.memory.holders[self._fence] = msgspec.structs.replace(holder, kinds=tuple(sorted(self._kinds)))
        self._wrote()

    async def append(self, messages: Sequence[Message], *, once: bool = False) -> int:
        if self._closed or not self._fence:
            raise StoreClosed
        if once:
            messages = self._unseen(messages)
        placed = self._route(messages)
        if once:
            until = self._now() + self.limits.dedupe_age
            self.memory.seen.update((message.id, until) for message in messages)
        for address, box, message in placed:
            self._place(address, box, message)
        return len(placed)

    def _unseen(self, messages: Sequence[Message]) -> list[Message]:
        """Those whose id was not accepted before; forgets what was seen too long ago."""
        now, seen = self._now(), self.memory.seen
        while seen and seen[oldest := next(iter(seen))] < now:
            del seen[oldest]
        unseen: dict[str, Message] = {}
        for message in messages:
            if message.id not in seen:
                unseen.setdefault(message.id, message)
        return list(unseen.values())

    async def claim(self) -> None:
        self._check_open()
        memory, now = self.memory, self._now()
        if self._fence not in memory.holders:
            if self._fence in memory.inboxes:
                memory.inboxes.pop(self._fence).revoked()
            return
        mine = memory.holders[self._fence]
        memory.holders[self._fence] = msgspec.structs.replace(mine, expires=now + memory.leases[self._fence])
        for holder in [holder for holder in memory.holders.values() if holder.expires <= now]:
            self._bury(holder.fence)
        for address, at in list(memory.free.items()):
            if at <= now and self._may_hold(address):
                self._lease(address, memory.boxes[address])
        self._claimed_at = memory.writes

    async def load(self, address: str, after: int) -> None:
        box = self.memory.boxes.get(address)
        if box is None or box.fence != self._fence:
            return
        for seq, message in (box.mail or {}).items():
            if seq > after:
                self.memory.inboxes[self._fence].deliver(address, seq, message, None)

    async def commit(self, turn: Turn) -> None:
        address, fence, memory = turn.address, turn.fence, self.memory
        box = memory.boxes.get(address)
        if box is None or box.fence != fence or fence != self._fence:
            box = self._owned(address, fence)
        mail = box.mail
        if mail is None or turn.seq not in mail:
            self._give_up(address, box)
        if turn.outcome == "dead":
            self._check_letters(1)
        again = turn.outcome == "retry"
        placed = self._route(turn.outgoing, leaving="" if again else address) if turn.outgoing else ()
        if again:
            mail[turn.seq] = turn.message
        else:
            self._end_turn(box, mail, turn)
        for name in turn.forget:
            self._forget(box, name)
        for target, target_box, message in placed:
            self._place(target, target_box, message)
        if self.limits.history_count and turn.outcome != "discarded":
            memory.remember(turn, len(placed), self.limits)
        if not mail:
            self._emptied(address, box, turn)
        memory.writes += 1
        memory.writer = fence

    def _emptied(self, address: str, box: Box, turn: Turn) -> None:
        box.mail = None
        if turn.ends:
            self._held.discard(address)
            del self.memory.boxes[address]

    def _end_turn(self, box: Box, mail: dict[int, Message], turn: Turn) -> None:
        """Take the message of a finished turn away, and what was noted for it."""
        del mail[turn.seq]
        if turn.outcome == "committed":
            box.turns += 1
        if turn.state is not None:
            box.state, box.schema = turn.state, turn.schema
        if turn.message.name and box.names is not None:
            box.names.pop(turn.message.name, None)
        if turn.outcome == "dead" and turn.dead is not None:
            number = next(self.memory.numbers)
            self.memory.dead[number] = msgspec.structs.replace(turn.dead, number=number)
        if turn.has_journal:
            self._end_journal(turn.address, box, turn.seq)

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
        self._check_open()
        box = self._owned(address, fence)
        if seq not in (box.mail or ()):
            self._give_up(address, box)
        placed = self._route(outgoing)
        if box.journal is None:
            box.journal = {}
        box.journal.setdefault(seq, {})[entry.name] = entry
        if entry.pattern and not entry.done:
            box.waits = box.waits or {}
            box.waits[seq, entry.name] = entry.pattern
            self.memory.routes.wait(entry.pattern, address)
        elif box.waits and (pattern := box.waits.pop((seq, entry.name), None)):
            self.memory.routes.unwait(pattern, address)
        if consumed and box.mail and (used := box.mail.pop(consumed, None)) and used.name and box.names:
            box.names.pop(used.name, None)
        for name in forget:
            self._forget(box, name)
        for target, target_box, message in placed:
            self._place(target, target_box, message)
        self._wrote()

    async def release(self, addresses: Iterable[tuple[str, bool]], fence: int) -> list[str]:
        released = []
        for address, suspended in addresses:
            box = self.memory.boxes.get(address)
            if box is None or box.fence != fence:
                continue
            due = _due(box, suspended=suspended)
            if due is not None and due <= self._now():
                continue
            self._held.discard(address)
            self._set_free(address, box, due)
            released.append(address)
        return released

    async def due(self) -> tuple[float | None, bool]:
        self._check_open()
        memory = self.memory
        changed = memory.writes != self._claimed_at and memory.writer != self._fence
        return min((at for address, at in memory.free.items() if self._may_hold(address)), default=None), changed

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._bury(self._fence)

    async def redrive(self, numbers: Sequence[int]) -> int:
        count = 0
        for number in numbers:
            if (letter := self.memory.dead.get(number)) is None:
                continue
            message, addresses = self.memory.routes.redriven(letter.address, letter.message)
            for address in addresses:
                del self.memory.dead[number]
                self._place(address, self.memory.boxes.get(address), message)
                count += 1
        self._wrote()
        return count

    # -- inside

    def _check_open(self) -> None:
        if self._closed or not self._fence:
            raise StoreClosed

    def _wrote(self) -> None:
        self.memory.writes += 1
        self.memory.writer = self._fence

    def _owned(self, address: str, fence: int) -> Box:
        box = self.memory.boxes.get(address)
        if box is None or box.fence != fence or fence != self._fence:
            self._check_open()
            raise StaleFence(f"this process no longer holds {address!r}")
        return box

    def _may_hold(self, address: str) -> bool:
        # The mailbox for answers is one of those held.
        free = len(self._held) <= self._capacity and self._fence in self.memory.holders
        return free and kind_of(address) in self._kinds

    def _route(self, messages: Sequence[Message], *, leaving: str = "") -> Placed:
        """Where messages go; raises before anything is changed. A message leaves the mailbox `leaving` besides."""
        lost: list[tuple[str, str]] = []
        letters: list[tuple[str, str, Message]] | None = None
        placed: Placed = []
        routes, boxes = self.memory.routes, self.memory.boxes
        for message in messages:
            for address in routes.addresses(message, lost):
                box = boxes.get(address)
                if box is None and is_answers(address):
                    continue  # who asked is gone
                waiting = len(placed) if box is None or box.mail is None else len(placed) + len(box.mail)
                if waiting >= routes.lowest_limit:
                    self._check_room(address, message, placed, leaving)
                placed.append((address, box, message))
            if lost:
                letters = [*(letters or ()), *((kind, why, message) for kind, why in lost)]
                lost.clear()
        if letters:
            self._check_letters(len(letters))
        for kind, why, message in letters or ():
            number = next(self.memory.numbers)
            self.memory.dead[number] = DeadLetter(kind, message, "InvalidPayload", why, "", self._now(), number)
        return placed

    def _check_letters(self, count: int) -> None:
        if len(self.memory.dead) + count > self.limits.dead:
            raise DeadLettersFull(self.limits.dead)

    def _check_room(self, address: str, message: Message, placed: Placed, leaving: str) -> None:
        """Raise `MailboxFull` if there is none. What ends a suspension always finds room."""
        limit, box = self.memory.routes.limit(address), self.memory.boxes.get(address)
        waiting = len(box.mail or ()) if box else 0
        waiting += sum(target == address for target, _, _ in placed) - (address == leaving)
        replaces = message.name and box is not None and message.name in (box.names or ())
        if waiting >= limit and not replaces and message.type not in {REPLY, WAKE}:
            raise MailboxFull(address, limit)

    def _place(self, address: str, box: Box | None, message: Message) -> None:
        memory = self.memory
        memory.writes += 1
        memory.writer = self._fence
        seq = next(memory.numbers)
        if box is None and (box := memory.boxes.get(address)) is None:
            box = memory.boxes[address] = Box()
        if message.name:
            self._forget(box, message.name)
            box.names = box.names or {}
            box.names[message.name] = seq
        if box.mail is None:
            box.mail = {seq: message}
        else:
            box.mail[seq] = message
        if box.fence is not None:
            if (inbox := memory.inboxes.get(box.fence)) is not None:
                inbox.deliver(address, seq, message, None)
        elif message.not_before > self._now() or not self._may_hold(address):
            due = memory.free.get(address)
            memory.free[address] = message.not_before if due is None else min(due, message.not_before)
            for fence, other in memory.inboxes.items():
                if fence != self._fence:
                    other.look()
        else:
            self._lease(address, box)

    def _lease(self, address: str, box: Box) -> None:
        self.memory.free.pop(address, None)
        box.fence = self._fence
        self._held.add(address)
        inbox = self.memory.inboxes[self._fence]
        journal = {seq: list(entries.values()) for seq, entries in (box.journal or {}).items()}
        lease: Lease | None = Lease(box.state, box.schema, box.turns, journal, self._fence)
        for seq, message in (box.mail or {}).items():
            inbox.deliver(address, seq, message, lease)
            lease = None
        if lease is not None:
            inbox.deliver(address, 0, None, lease)

    def _bury(self, fence: int) -> None:
        """Give up all that a holder holds."""
        memory = self.memory
        memory.holders.pop(fence, None)
        memory.stopping.discard(fence)
        if fence == self._fence:
            memory.inboxes.pop(fence, None)
        for address in memory.held.pop(fence, ()):
            box = memory.boxes[address]
            self._set_free(address, box, _due(box, suspended=False))
        self._wrote()

    def _give_up(self, address: str, box: Box) -> NoReturn:
        """Let go of a mailbox whose owner has lost track of it; it is handed out anew."""
        self._held.discard(address)
        self._set_free(address, box, _due(box, suspended=False))
        self.memory.inboxes[self._fence].look()
        raise StaleFence(f"the message of this turn of {address!r} is not there any more")

    def _set_free(self, address: str, box: Box, due: float | None) -> None:
        box.fence = None
        if is_answers(address):
            del self.memory.boxes[address]
        elif due is not None:
            self.memory.free[address] = due
        elif not box.mail and box.state is None and not box.journal:
            kind = self.memory.routes.kinds.get(kind_of(address))
            if kind is None or kind.key == EACH:
                del self.memory.boxes[address]

    def _forget(self, box: Box, name: str) -> None:
        if box.names and (seq := box.names.pop(name, None)) and box.mail:
            box.mail.pop(seq, None)

    def _end_journal(self, address: str, box: Box, seq: int) -> None:
        if box.journal:
            box.journal.pop(seq, None)
        for key, pattern in list((box.waits or {}).items()):
            if key[0] == seq and box.waits:
                del box.waits[key]
                self.memory.routes.unwait(pattern, address)


def _due(box: Box, *, suspended: bool) -> float | None:
    """When a mailbox has something to do; one with a suspended turn waits for timers and answers only."""
    times = (m.not_before for m in (box.mail or {}).values() if m.name or not suspended)
    return min(times, default=None)
