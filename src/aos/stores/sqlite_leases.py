"""Who holds which mailbox: holders, leases, taking over from the dead."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from aos.message import answers_address, kind_of
from aos.stores.presence import Presence
from aos.stores.records import EACH, JournalEntry, Kind, Lease
from aos.stores.sqlite_ledger import LOOK, OVERFLOW, REVOKED, Ledger, Owned, decode_message, encode
from aos.topic import check_pattern

_CLAIM_LIMIT = 2_000
_decode_entry = msgspec.msgpack.Decoder(JournalEntry).decode

_NEXT = "SELECT min(ready_at) FROM boxes WHERE owner IS NULL AND ready_at IS NOT NULL AND kind = ?"
_DUE = (
    "SELECT address, id, owner, ready_at, state, schema, turns FROM boxes "
    "WHERE owner IS NULL AND ready_at IS NOT NULL AND kind = ? AND ready_at <= ? ORDER BY ready_at LIMIT ?"
)
_WAITING = "SELECT min(due) FROM messages WHERE box = ?"
_WAITING_NAMED = "SELECT min(due) FROM messages WHERE box = ? AND name IS NOT NULL"


class Box(NamedTuple):
    """A row of `boxes`."""

    id: int
    owner: int | None
    ready_at: float | None
    state: bytes | None
    schema: int
    turns: int


class Leases:
    """The verbs about holding mailboxes. They run inside the ledger's transactions, in its thread.

    Args:
        ledger: Where the rows are.
        presence: This process.
    """

    def __init__(self, ledger: Ledger, presence: Presence) -> None:
        self._ledger = ledger
        self._presence = presence
        self._lease = 0.0
        self._capacity = 0
        self._claimed = -1
        self.others: list[int] = []
        """Ids of the other processes that hold mailboxes, as of the last claim."""

    # -- verbs

    def open(self, lease: float, capacity: int) -> int:
        """Become a holder; what this process held before is free."""
        ledger, here = self._ledger, self._presence
        if ledger.holds:
            self.close()
        now = ledger.now
        ledger.fence = self._insert(
            "INSERT INTO holders (pid, host, born, started, expires, kinds) VALUES (?, ?, ?, ?, ?, ?)",
            (here.pid, here.host, here.born, now, now + lease, encode(sorted(ledger.kinds))),
        )
        ledger.holds = True
        ledger.owned = {}
        self._lease, self._capacity, ledger.renewed = lease, capacity, now
        ledger.told = False
        address = answers_address(ledger.fence)
        box = self._insert("INSERT INTO boxes (address, kind, owner) VALUES (?, ?, ?)", (address, "~", ledger.fence))
        ledger.own(Owned(address, box, 0))
        return ledger.fence

    def declare(self, kinds: Sequence[Kind], *, run: bool) -> None:
        """Make kinds known."""
        ledger = self._ledger
        new = [kind for kind in kinds if ledger.routes.kinds.get(kind.name) != kind]
        for pattern in (pattern for kind in new for pattern in kind.patterns):
            check_pattern(pattern)
        for kind in new:
            ledger.execute(
                "INSERT INTO kinds (name, entry) VALUES (?, ?) ON CONFLICT DO UPDATE SET entry = excluded.entry",
                (kind.name, encode(kind)),
            )
            ledger.routes.declare(kind)
        if new:
            ledger.routes_changed()
        if run and not ledger.kinds.issuperset(kind.name for kind in kinds):
            ledger.kinds |= {kind.name for kind in kinds}
            ledger.next_due_known = False
            ledger.execute("UPDATE holders SET kinds = ? WHERE fence = ?", (encode(sorted(ledger.kinds)), ledger.fence))

    def claim(self) -> None:
        """Renew, take over from the dead, take what is due and free."""
        ledger = self._ledger
        if not ledger.holds:
            if not ledger.told:
                ledger.told = True
                ledger.out.append(("", REVOKED, None, None))
            return
        now = ledger.now
        if abs(now - ledger.renewed) >= self._lease / 10:
            ledger.execute("UPDATE holders SET expires = ? WHERE fence = ?", (now + self._lease, ledger.fence))
            ledger.renewed = now
        self._bury_dead()
        self._take_due()
        self._claimed = ledger.version

    def release(self, addresses: Iterable[tuple[str, bool]], fence: int) -> list[str]:
        """Give up mailboxes that have nothing due; returns those given up."""
        ledger = self._ledger
        ledger.flush()
        released = []
        for address, suspended in addresses:
            owned = ledger.owned.get(address)
            if owned is None or fence != ledger.fence:
                continue
            due = self._due(owned.box, suspended=suspended) if owned.count else None
            if due is not None and due <= ledger.now:
                continue
            if owned.count or not self._drop_empty(owned):
                self._free(owned, due)
            else:
                ledger.disown(owned)
            released.append(address)
        return released

    def give_up(self, owned: Owned) -> None:
        """Let go of a mailbox whose owner has lost track of it; it is handed out anew."""
        ledger = self._ledger
        ledger.flush()
        self._free(owned, self._due(owned.box, suspended=False))
        ledger.out.append(("", LOOK, None, None))

    def due(self) -> tuple[float | None, bool]:
        """When the next free mailbox has something to do, and whether others wrote since `claim`."""
        ledger = self._ledger
        moved = ledger.changed()
        changed = moved or ledger.version != self._claimed
        if not self._has_room():
            return None, changed
        if moved or not ledger.next_due_known:
            times = [ledger.execute(_NEXT, (kind,)).fetchone()[0] for kind in ledger.kinds]
            ledger.next_due = min((at for at in times if at is not None), default=None)
            ledger.next_due_known = not moved
        return ledger.next_due, changed

    def request_stop(self, fences: Sequence[int]) -> int:
        """Ask holders to stop; returns how many."""
        ledger = self._ledger
        found = [fence for (fence,) in ledger.execute("SELECT fence FROM holders")]
        asked = [fence for fence in found if not fences or fence in fences]
        for fence in asked:
            ledger.execute("UPDATE holders SET stopping = 1 WHERE fence = ?", (fence,))
        return len(asked)

    def close(self) -> None:
        """Give up everything."""
        ledger = self._ledger
        if ledger.holds:
            ledger.flush()
            self._bury(ledger.fence)
            ledger.holds = False
            ledger.owned = {}

    # -- for the verbs about messages

    def may_hold(self, address: str) -> bool:
        """Whether this process takes a mailbox when it is free."""
        return self._has_room() and kind_of(address) in self._ledger.kinds

    def find(self, address: str) -> Box | None:
        """The row of a mailbox."""
        row = self._ledger.execute(
            "SELECT id, owner, ready_at, state, schema, turns FROM boxes WHERE address = ?", (address,)
        ).fetchone()
        return None if row is None else Box(*row)

    def make(self, address: str) -> tuple[Owned, Lease]:
        """A new mailbox that this process holds."""
        ledger = self._ledger
        box = self._insert(
            "INSERT INTO boxes (address, kind, owner) VALUES (?, ?, ?)", (address, kind_of(address), ledger.fence)
        )
        owned = Owned(address, box, 0)
        ledger.own(owned)
        return owned, Lease(fence=ledger.fence)

    def make_free(self, address: str, ready_at: float) -> int:
        """A new mailbox that nobody holds; returns its id."""
        self._ledger.next_due_known = False
        return self._insert(
            "INSERT INTO boxes (address, kind, ready_at) VALUES (?, ?, ?)", (address, kind_of(address), ready_at)
        )

    def make_ready(self, box: int, ready_at: float) -> None:
        """A free mailbox has something to do by then."""
        self._ledger.next_due_known = False
        self._ledger.execute("UPDATE boxes SET ready_at = ? WHERE id = ?", (ready_at, box))

    def take(self, address: str, box: Box) -> tuple[Owned, Lease | None]:
        """Hold a free mailbox and hand out what waits in it; returns the lease if nothing was there to go with it."""
        ledger = self._ledger
        if box.id in ledger.loose:
            ledger.flush()
        ledger.execute("UPDATE boxes SET owner = ?, ready_at = NULL WHERE id = ?", (ledger.fence, box.id))
        ledger.next_due_known = False
        owned = Owned(address, box.id, box.turns)
        ledger.own(owned)
        rows = self._waiting(owned)
        journal: dict[int, list[JournalEntry]] = {}
        if rows:
            entries = ledger.execute(
                "SELECT j.seq, j.entry FROM messages m CROSS JOIN journal j ON j.seq = m.seq WHERE m.box = ?",
                (box.id,),
            )
            for seq, entry in entries.fetchall():
                journal.setdefault(seq, []).append(_decode_entry(entry))
        for recorded in journal.values():
            recorded.sort(key=lambda entry: entry.index)
        lease: Lease | None = Lease(box.state, box.schema, box.turns, journal, ledger.fence)
        for seq, name, body in rows:
            if name:
                owned.names = owned.names or {}
                owned.names[name] = seq
            ledger.hand(owned, seq, decode_message(body), lease)
            lease = None
        if owned.behind:
            ledger.out.append((address, OVERFLOW, None, None))
        return owned, lease

    # -- inside

    def _insert(self, statement: str, row: tuple[object, ...]) -> int:
        return int(self._ledger.execute(statement, row).lastrowid or 0)

    def _has_room(self) -> bool:
        ledger = self._ledger
        # The mailbox for answers is one of those held.
        return ledger.holds and len(ledger.owned) <= self._capacity

    def _due(self, box: int, *, suspended: bool) -> float | None:
        (due,) = self._ledger.execute(_WAITING_NAMED if suspended else _WAITING, (box,)).fetchone()
        return None if due is None else float(due)

    def _free(self, owned: Owned, due: float | None) -> None:
        ledger = self._ledger
        ledger.execute("UPDATE boxes SET owner = NULL, ready_at = ? WHERE id = ?", (due, owned.box))
        ledger.next_due_known = False
        ledger.disown(owned)

    def _drop_empty(self, owned: Owned) -> bool:
        """Delete a mailbox without messages if nothing of it is worth keeping."""
        ledger = self._ledger
        kind = ledger.routes.kinds.get(kind_of(owned.address))
        if kind is not None and kind.key != EACH:
            return False
        return ledger.execute("DELETE FROM boxes WHERE id = ? AND state IS NULL", (owned.box,)).rowcount > 0

    def _waiting(self, owned: Owned) -> list[tuple[int, str | None, bytes]]:
        """The messages that a new owner is handed: a window full or up to the last with a journal, and all names."""
        ledger, window = self._ledger, self._ledger.limits.window
        rows = ledger.execute(
            "SELECT seq, name, body FROM messages WHERE box = ? ORDER BY seq LIMIT ?", (owned.box, window + 1)
        ).fetchall()
        owned.count = len(rows)
        if len(rows) > window:
            rows.pop()
            (owned.count,) = ledger.execute("SELECT count(*) FROM messages WHERE box = ?", (owned.box,)).fetchone()
            (journaled,) = ledger.execute(
                "SELECT max(m.seq) FROM messages m CROSS JOIN journal j ON j.seq = m.seq WHERE m.box = ?", (owned.box,)
            ).fetchone()
            rows += ledger.execute(
                "SELECT seq, name, body FROM messages WHERE box = ? AND seq > ? AND (name IS NOT NULL OR seq <= ?) "
                "ORDER BY seq",
                (owned.box, rows[-1][0], journaled or 0),
            ).fetchall()
            owned.behind = len(rows) < owned.count
        owned.top = max((seq for seq, name, _ in rows if name is None), default=0)
        return rows

    def _take_due(self) -> None:
        ledger = self._ledger
        left = _CLAIM_LIMIT
        for kind in sorted(ledger.kinds):
            room = max(0, min(left, self._capacity + 1 - len(ledger.owned)))
            rows = ledger.execute(_DUE, (kind, ledger.now, room)).fetchall()
            left -= len(rows)
            for address, *rest in rows:
                _, lease = self.take(address, Box(*rest))
                if lease is not None:
                    ledger.out.append((address, 0, None, lease))
        if left <= 0:
            ledger.out.append(("", LOOK, None, None))

    def _bury_dead(self) -> None:
        ledger = self._ledger
        self.others = []
        rows = ledger.execute("SELECT fence, pid, host, born, expires FROM holders WHERE fence <> ?", (ledger.fence,))
        for fence, pid, host, born, expires in rows.fetchall():
            if expires <= ledger.now or self._presence.is_gone(Presence(pid, host, born)):
                self._bury(fence)
            else:
                self.others.append(pid)

    def _bury(self, fence: int) -> None:
        """Free what a holder held; its commits are refused from now on."""
        ledger, answers = self._ledger, answers_address(fence)
        lasting = [kind.name for kind in ledger.routes.kinds.values() if kind.key != EACH]
        ledger.execute("DELETE FROM messages WHERE box IN (SELECT id FROM boxes WHERE address = ?)", (answers,))
        ledger.deleted = True
        ledger.execute("DELETE FROM boxes WHERE address = ?", (answers,))
        ledger.execute(
            "DELETE FROM boxes WHERE owner = ? AND state IS NULL AND NOT EXISTS "
            "(SELECT 1 FROM messages WHERE box = boxes.id) AND kind NOT IN (SELECT value FROM json_each(?))",
            (fence, msgspec.json.encode(lasting).decode()),
        )
        ledger.execute(
            "UPDATE boxes SET owner = NULL, ready_at = (SELECT min(due) FROM messages WHERE box = boxes.id) "
            "WHERE owner = ?",
            (fence,),
        )
        ledger.execute("DELETE FROM holders WHERE fence = ?", (fence,))
        ledger.next_due_known = False
