"""Messages and turns: accepted, committed, recorded, redriven."""

from __future__ import annotations

from collections.abc import Sequence

from aos.errors import DeadLettersFull, InvalidInput, MailboxFull, StaleFence
from aos.message import REPLY, WAKE, Message, is_answers
from aos.stores.records import DeadLetter, JournalEntry, Turn
from aos.stores.sqlite_leases import Box, Leases
from aos.stores.sqlite_ledger import OVERFLOW, Ledger, Owned, decode_message, encode

Placed = list[tuple[str, Message, bytes]]
Lost = list[tuple[str, str, bytes]]

_TRIM = 1_000
"""Rows of history, ids and pages of the file that one transaction takes away at most, so that none takes long."""


class Mail:
    """The verbs about messages. They run inside the ledger's transactions, in its thread.

    Each decides first whether it is refused, and only then writes.

    Args:
        ledger: Where the rows are.
        leases: Who takes mailboxes that are free.
    """

    def __init__(self, ledger: Ledger, leases: Leases) -> None:
        self._ledger = ledger
        self._leases = leases
        self._kept = 0
        self._trimmed_at: float | None = None

    # -- verbs

    def append(self, messages: Sequence[Message], *, once: bool) -> int:
        """Accept messages; returns how many mailboxes they reached."""
        ledger = self._ledger
        if once:
            first: dict[str, Message] = {}
            for message in messages:
                first.setdefault(message.id, message)
            messages = [message for message in first.values() if self._is_new(message.id)]
        placed, lost = self._route(messages)
        self._check_letters(len(lost))
        if once:
            until = ledger.now + ledger.limits.dedupe_age
            ledger.batch.seen.update((message.id, until) for message in messages)
        self._bury(lost)
        for address, message, body in placed:
            self._place(address, message, body)
        return len(placed)

    def commit(self, turn: Turn) -> None:
        """Write a turn's outcome."""
        ledger, seq, message = self._ledger, turn.seq, turn.message
        owned = self._at(turn.address, turn.fence, seq)
        again = turn.outcome == "retry"
        body = _encoded(message) if again else b""
        placed, lost = self._route(turn.outgoing, leaving=None if again else owned) if turn.outgoing else ((), ())
        self._check_letters(len(lost) + (turn.outcome == "dead"))
        ledger.touch(owned)
        batch = ledger.batch
        if again:
            batch.put_back(seq, message.not_before, body)
        else:
            batch.delete(seq)
            owned.gone(seq, message.name)
            owned.turns += turn.outcome == "committed"
            batch.state(owned.box, turn.state, turn.schema, owned.turns)
            if turn.dead is not None and turn.outcome == "dead":
                self._bury_letter(turn.dead)
            if turn.has_journal:
                self._end_journal(seq)
        for name in turn.forget:
            self._forget(owned, name)
        if lost:
            self._bury(lost)
        for address, outgoing, packed in placed:
            self._place(address, outgoing, packed)
        if ledger.limits.history_count and turn.outcome != "discarded":
            self._remember(owned, turn, len(placed))
        if turn.ends and not owned.count:
            batch.end_box(owned.box)
            ledger.disown(owned)

    def record(
        self,
        address: str,
        fence: int,
        seq: int,
        entry: JournalEntry,
        *,
        outgoing: Sequence[Message],
        consumed: int,
        forget: Sequence[str],
    ) -> None:
        """Write a journal entry of an unfinished turn."""
        ledger = self._ledger
        owned = self._at(address, fence, seq)
        packed = _encoded(entry)
        placed, lost = self._route(outgoing)
        self._check_letters(len(lost))
        ledger.touch(owned)
        ledger.batch.entry(seq, entry.name, packed)
        if entry.kind == "wait":
            self._wait(address, seq, entry)
        if consumed and consumed in (owned.handed or ()):
            ledger.batch.delete(consumed)
            name = next((name for name, used in (owned.names or {}).items() if used == consumed), "")
            owned.gone(consumed, name)
        for name in forget:
            self._forget(owned, name)
        self._bury(lost)
        for target, message, body in placed:
            self._place(target, message, body)

    def load(self, address: str, after: int) -> None:
        """Hand out more of a held mailbox."""
        ledger = self._ledger
        owned = ledger.owned.get(address)
        if owned is None:
            return
        ledger.flush()
        ledger.touch(owned)
        room = max(ledger.limits.window // 4, ledger.limits.window - ledger.ahead(owned), 1)
        rows = ledger.execute(
            "SELECT seq, body FROM messages WHERE box = ? AND seq > ? AND name IS NULL ORDER BY seq LIMIT ?",
            (owned.box, min(after, owned.top), room + 1),
        ).fetchall()
        for seq, body in rows[:room]:
            owned.top = max(owned.top, seq)
            if owned.handed is None or seq not in owned.handed:
                ledger.hand(owned, seq, decode_message(body))
        owned.behind = len(rows) > room
        if owned.behind:
            ledger.out.append((address, OVERFLOW, None, None))

    def redrive(self, numbers: Sequence[int]) -> int:
        """Put dead letters back; returns how many found a mailbox."""
        ledger, count = self._ledger, 0
        for number in numbers:
            row = ledger.execute("SELECT address, message FROM dead WHERE number = ?", (number,)).fetchone()
            if row is None:
                continue
            message, addresses = ledger.routes.redriven(row[0], decode_message(row[1]))
            for address in addresses:
                self._place(address, message, encode(message))
            if addresses:
                ledger.execute("DELETE FROM dead WHERE number = ?", (number,))
                count += 1
        return count

    def drop(self, numbers: Sequence[int]) -> int:
        """Throw dead letters away; returns how many."""
        execute = self._ledger.execute
        return sum(execute("DELETE FROM dead WHERE number = ?", (number,)).rowcount for number in numbers)

    def trim(self) -> None:
        """Take away history and ids that are past their bounds, and give room back to the disk; a little at a time."""
        ledger, limits, now = self._ledger, self._ledger.limits, self._ledger.now
        if self._trimmed_at is not None and abs(now - self._trimmed_at) < 1.0:
            return
        self._trimmed_at = now
        ledger.flush()
        (self._kept,) = ledger.execute("SELECT count(*) FROM turns").fetchone()
        self._kept -= ledger.execute(
            "DELETE FROM turns WHERE at < ? AND number < ? AND number IN "
            "(SELECT number FROM turns ORDER BY number LIMIT ?)",
            (now - limits.history_age, ledger.number, _TRIM),
        ).rowcount
        ledger.execute(
            "DELETE FROM seen WHERE until < ? AND number IN (SELECT number FROM seen ORDER BY number LIMIT ?)",
            (now, _TRIM),
        )
        (free,) = ledger.execute("PRAGMA freelist_count").fetchone()
        (pages,) = ledger.execute("PRAGMA page_count").fetchone()
        if free > max(_TRIM, pages // 2):
            for _ in range(_TRIM):  # a page at a time: `execute` takes one step of a statement without columns
                ledger.execute("PRAGMA incremental_vacuum(1)")

    # -- inside

    def _at(self, address: str, fence: int, seq: int) -> Owned:
        """The held mailbox of a turn whose message is still there; raises `StaleFence`."""
        owned = self._ledger.held(address, fence)
        if owned.handed is None or seq not in owned.handed:
            self._leases.give_up(owned)
            raise StaleFence(f"the message of this turn of {address!r} is not there any more")
        return owned

    def _is_new(self, id_: str) -> bool:
        ledger = self._ledger
        if id_ in ledger.batch.seen:
            return False
        row = ledger.execute("SELECT until FROM seen WHERE id = ?", (id_,)).fetchone()
        return row is None or row[0] < ledger.now

    def _route(self, messages: Sequence[Message], *, leaving: Owned | None = None) -> tuple[Placed, Lost]:
        """Where messages go, and those that find no mailbox; raises before anything is changed.

        Args:
            messages: The messages.
            leaving: The mailbox that a message leaves in the same operation.
        """
        placed: Placed = []
        lost: Lost = []
        unroutable: list[tuple[str, str]] = []
        added: dict[str, int] = {leaving.address: -1} if leaving is not None else {}
        held, routes = self._ledger.owned, self._ledger.routes
        for message in messages:
            body = b""
            # A mailbox that is held is an address that was looked at before.
            known = message.subject in held
            for address in (message.subject,) if known else routes.addresses(message, unroutable):
                body = body or _encoded(message)
                more = added.get(address, 0)
                owned = held.get(address)
                if owned is not None:
                    if owned.count + more >= routes.lowest_limit:
                        self._check_room(owned, message, more)
                elif not self._is_there(address, message, more):
                    continue
                added[address] = more + 1
                placed.append((address, message, body))
            while unroutable:
                lost.append((*unroutable.pop(), body or _encoded(message)))
        return placed, lost

    def _check_room(self, owned: Owned, message: Message, added: int) -> None:
        """Raise `MailboxFull` if a held mailbox has no room. What ends a suspension always finds some."""
        limit = self._ledger.routes.limit(owned.address)
        replaces = message.name and message.name in (owned.names or ())
        if owned.count + added >= limit and not replaces and message.type not in {REPLY, WAKE}:
            raise MailboxFull(owned.address, limit)

    def _is_there(self, address: str, message: Message, added: int) -> bool:
        """The same for a mailbox that this process does not hold; False if it was for answers and is gone."""
        ledger, box = self._ledger, self._leases.find(address)
        if is_answers(address):
            return box is not None
        limit = ledger.routes.limit(address)
        used = 0 if box is None else ledger.room_used(address, box.id, limit - added)
        if used + added < limit or message.type in {REPLY, WAKE}:
            return True
        if box is None or not message.name or not self._has_name(box, message.name):
            raise MailboxFull(address, limit)
        return True

    def _has_name(self, box: Box, name: str) -> bool:
        self._ledger.flush()
        found = self._ledger.execute("SELECT 1 FROM messages WHERE box = ? AND name = ?", (box.id, name))
        return found.fetchone() is not None

    def _place(self, address: str, message: Message, body: bytes) -> None:
        ledger, leases = self._ledger, self._leases
        owned, lease = ledger.owned.get(address), None
        if owned is None:
            box = leases.find(address)
            if box is not None and ledger.holds and box.owner == ledger.fence:  # it ended in this transaction
                ledger.flush()
                box = leases.find(address)
            free = box is None or box.owner is None
            if not free or message.not_before > ledger.now or not leases.may_hold(address):
                self._place_elsewhere(address, box, message, body)
                return
            owned, lease = leases.make(address) if box is None else leases.take(address, box)
        else:
            ledger.touch(owned)
        ledger.last += 1
        if message.name:
            self._forget(owned, message.name)
        ledger.batch.insert((ledger.last, owned.box, message.not_before, message.name or None, body))
        ledger.arrive(owned, ledger.last, message, lease)

    def _place_elsewhere(self, address: str, box: Box | None, message: Message, body: bytes) -> None:
        """Into a mailbox that this process does not hold."""
        ledger, due = self._ledger, message.not_before
        if box is None:
            id_ = self._leases.make_free(address, due)
        else:
            id_ = box.id
            if message.name:
                ledger.flush()
                ledger.execute("DELETE FROM messages WHERE box = ? AND name = ?", (id_, message.name))
                ledger.deleted = True
            if box.owner is None and (box.ready_at is None or due < box.ready_at):
                self._leases.make_ready(id_, due)
        ledger.last += 1
        ledger.batch.insert((ledger.last, id_, due, message.name or None, body))
        ledger.loose.add(id_)
        if address in ledger.used:
            ledger.used[address] += 1

    def _forget(self, owned: Owned, name: str) -> None:
        seq = (owned.names or {}).get(name)
        if seq is not None:
            self._ledger.batch.delete(seq)
            owned.gone(seq, name)

    def _wait(self, address: str, seq: int, entry: JournalEntry) -> None:
        ledger = self._ledger
        key = (seq, entry.name)
        row = ledger.execute("SELECT pattern FROM waits WHERE seq = ? AND name = ?", key).fetchone()
        if row is None and entry.pattern and not entry.done:
            ledger.execute(
                "INSERT INTO waits (seq, name, pattern, address) VALUES (?, ?, ?, ?)", (*key, entry.pattern, address)
            )
            ledger.routes.wait(entry.pattern, address)
            ledger.routes_changed()
        elif row is not None and entry.done:
            ledger.execute("DELETE FROM waits WHERE seq = ? AND name = ?", key)
            ledger.routes.unwait(row[0], address)
            ledger.routes_changed()

    def _end_journal(self, seq: int) -> None:
        ledger = self._ledger
        ledger.batch.end_journal(seq)
        waits = ledger.execute("SELECT pattern, address FROM waits WHERE seq = ?", (seq,)).fetchall()
        if waits:
            ledger.execute("DELETE FROM waits WHERE seq = ?", (seq,))
            for pattern, address in waits:
                ledger.routes.unwait(pattern, address)
            ledger.routes_changed()

    def _check_letters(self, count: int) -> None:
        """Raise `DeadLettersFull` if there is no room for so many more."""
        if not count:
            return
        ledger = self._ledger
        (there,) = ledger.execute("SELECT count(*) FROM dead").fetchone()
        if there + count > ledger.limits.dead:
            raise DeadLettersFull(ledger.limits.dead)

    def _bury(self, lost: Lost) -> None:
        for kind, why, body in lost:
            self._dead_row(kind, body, "InvalidPayload", why, "", self._ledger.now)

    def _bury_letter(self, letter: DeadLetter) -> None:
        texts = map(_storable, (letter.error_type, letter.reason, letter.traceback))
        self._dead_row(letter.address, encode(letter.message), *texts, letter.at)

    def _dead_row(self, *row: object) -> None:
        self._ledger.execute(
            "INSERT INTO dead (address, message, error_type, reason, traceback, at) VALUES (?, ?, ?, ?, ?, ?)", row
        )

    def _remember(self, owned: Owned, turn: Turn, sent: int) -> None:
        """A line of history; now and then a cut of what is past its bounds."""
        ledger, message = self._ledger, turn.message
        keep, total = ledger.limits.history_count, ledger.limits.history_total
        ledger.number += 1
        attempt = message.attempt - (turn.outcome == "retry")
        line = (message.id, message.type, attempt, turn.outcome, turn.took, sent, _storable(turn.error))
        ledger.batch.turn(ledger.number, owned.address, turn.at, encode(line))
        owned.kept += 1
        if owned.kept % keep == 0:
            ledger.execute(
                "DELETE FROM turns WHERE address = ? AND number < "
                "(SELECT number FROM turns WHERE address = ? ORDER BY number DESC LIMIT 1 OFFSET ?)",
                (owned.address, owned.address, keep - 1),
            )
        self._kept += 1
        if self._kept > total + min(_TRIM, total // 10):
            ledger.flush()
            (self._kept,) = ledger.execute("SELECT count(*) FROM turns").fetchone()
            excess = self._kept - total
            if excess > 0:
                ledger.execute(
                    "DELETE FROM turns WHERE number IN (SELECT number FROM turns ORDER BY number LIMIT ?)", (excess,)
                )
                self._kept = total


def _encoded(value: Message | JournalEntry) -> bytes:
    try:
        return encode(value)
    except (TypeError, ValueError, OverflowError) as error:
        name = value.id if isinstance(value, Message) else value.name
        raise InvalidInput(f"{name!r} cannot be stored: {error}") from error


def _storable(text: str) -> str:
    """The text of an error, which may be no Unicode."""
    return text if text.isascii() else text.encode(errors="replace").decode()
