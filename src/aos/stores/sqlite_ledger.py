"""One transaction after another, and what this process knows without asking the file."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from aos.errors import AOSError, StaleFence
from aos.message import Message
from aos.stores.records import Kind, Lease, Limits
from aos.stores.routes import Routes
from aos.stores.sqlite_batch import Batch

if TYPE_CHECKING:
    import asyncio

Delivery = tuple[str, int, Message | None, Lease | None]
OVERFLOW, LOOK, REVOKED = -1, -2, -3
"""In the place of a delivery's number: what else an inbox is told."""

encode = msgspec.msgpack.Encoder().encode
decode_message = msgspec.msgpack.Decoder(Message).decode
decode_kind = msgspec.msgpack.Decoder(Kind).decode

_USED_LIMIT = 10_000


class Operation:
    """One verb that a caller waits for."""

    __slots__ = ("call", "deliveries", "error", "future", "reads", "result")

    def __init__(self, call: Callable[[], Any], future: asyncio.Future[Any], *, reads: bool) -> None:
        self.call = call
        self.future = future
        self.reads = reads
        self.result: Any = None
        self.error: BaseException | None = None
        self.deliveries: list[Delivery] = []


class _BrokenError(Exception):
    """An operation cannot be done, for a reason of its own."""

    def __init__(self, operation: Operation) -> None:
        super().__init__()
        self.operation = operation


class Owned:
    """A mailbox that this process holds.

    Its numbers are exact: who else writes into it is noticed before the next operation.
    """

    __slots__ = ("address", "behind", "box", "count", "handed", "kept", "names", "top", "turns")

    def __init__(self, address: str, box: int, turns: int) -> None:
        self.address = address
        self.box = box
        self.turns = turns
        self.kept = turns
        """Grows with each line of history, to tell when it is time to cut it."""
        self.count = 0
        self.top = 0
        """The last message without a name that was handed out; all before it were too."""
        self.behind = False
        """Whether there are messages that were not handed out."""
        self.handed: set[int] | None = None
        self.names: dict[str, int] | None = None

    def saved(self) -> tuple[Any, ...]:
        """What `restore` takes."""
        handed, names = self.handed, self.names
        return (
            self.turns,
            self.kept,
            self.count,
            self.top,
            self.behind,
            set(handed) if handed else None,
            dict(names) if names else None,
        )

    def restore(self, saved: tuple[Any, ...]) -> None:
        """Be again as when this was saved."""
        self.turns, self.kept, self.count, self.top, self.behind, self.handed, self.names = saved

    def gone(self, seq: int, name: str) -> None:
        """A message is not there any more."""
        self.count -= 1
        if self.handed is not None:
            self.handed.discard(seq)
            if not self.handed:
                self.handed = None
        if name and self.names is not None:
            self.names.pop(name, None)
            if not self.names:
                self.names = None


class Ledger:
    """The connection, the transaction under way, and the mirror of what this process holds.

    All of it is used by one thread at a time.

    Args:
        connection: A connection that nobody else uses.
        limits: What is kept.
    """

    def __init__(self, connection: sqlite3.Connection, limits: Limits) -> None:
        self.connection = connection
        self.execute = connection.execute
        self.limits = limits
        self.now = 0.0
        self.fence = 0
        self.holds = False
        """Whether `fence` is that of a holder that nobody has buried."""
        self.told = True
        """Whether the inbox knows when `fence` is nothing any more."""
        self.renewed = 0.0
        """When the lease was last written."""
        self.kinds: frozenset[str] = frozenset()
        self.owned: dict[str, Owned] = {}
        self.routes = Routes()
        self.used: dict[str, int] = {}
        """At most so many messages wait in mailboxes of others."""
        self.batch = Batch()
        self.loose: set[int] = set()
        """Mailboxes of others that have messages in `batch`."""
        self.out: list[Delivery] = []
        self.deleted = False
        """Whether messages went in this transaction."""
        self.last = 0
        """The highest number that a message ever had."""
        self.number = 0
        """The highest number in the history."""
        self.next_due: float | None = None
        self.next_due_known = False
        self.version = -1
        """`PRAGMA data_version`: changes when another connection has written."""
        self._saved = -1
        self._routes_seen = -1
        self._touched: dict[str, tuple[Owned, tuple[Any, ...]] | None] = {}
        """Mailboxes as they were before this transaction, None for those that it took."""

    # -- transactions

    def run(self, operations: Sequence[Operation], now: float) -> list[Delivery]:
        """Do operations in one transaction; returns what others have put into mailboxes held here.

        An operation that is refused has written nothing and harms no other, nor does one that breaks down: the others
        are done again without it. When this raises, none has happened.
        """
        self.now = now
        while True:
            try:
                if all(operation.reads for operation in operations):
                    self._read(operations)
                    return []
                return self._write(operations)
            except _BrokenError as broken:
                broken.operation.error = broken.__cause__
                operations = [operation for operation in operations if operation is not broken.operation]

    def _read(self, operations: Sequence[Operation]) -> None:
        for operation in operations:
            operation.result = operation.call()

    def _write(self, operations: Sequence[Operation]) -> list[Delivery]:
        before = (
            *(self.fence, self.holds, self.told, self.renewed, self.kinds, self.owned),
            *(self.last, self.number, self._saved),
        )
        arrived: list[Delivery] = []
        try:
            self.execute("BEGIN IMMEDIATE")
            self.deleted = False
            self.out = arrived
            self._see_others()
            for operation in operations:
                self.out = operation.deliveries = []
                self._do(operation)
            self._finish()
            self.execute("COMMIT")
        except BaseException:
            self._roll_back(before)
            raise
        self._touched.clear()
        return arrived

    @staticmethod
    def _do(operation: Operation) -> None:
        operation.error = None
        try:
            operation.result = operation.call()
        except AOSError as refusal:
            operation.error = refusal
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InterfaceError, sqlite3.DataError) as error:
            raise _BrokenError(operation) from error
        except sqlite3.Error:
            raise  # the disk or the file, not this operation
        except Exception as error:
            raise _BrokenError(operation) from error

    def flush(self) -> None:
        """Write what was gathered, before something is read or changed that depends on it."""
        batch, self.batch = self.batch, Batch()
        self.deleted = self.deleted or batch.deletes
        batch.write(self.connection)
        self.loose.clear()

    def _finish(self) -> None:
        last_goes_in = self.last in self.batch.inserts
        self.flush()
        if self.deleted and not last_goes_in and self.last != self._saved:
            (highest,) = self.execute("SELECT max(seq) FROM messages").fetchone()
            if (highest or 0) < self.last:
                self.execute("UPDATE counters SET value = ? WHERE name = 'seq'", (self.last,))
                self._saved = self.last

    def _roll_back(self, before: tuple[Any, ...]) -> None:
        if self.connection.in_transaction:
            self.execute("ROLLBACK")
        self.fence, self.holds, self.told, self.renewed, self.kinds, self.owned = before[:6]
        self.last, self.number, self._saved = before[6:]
        for address, touched in self._touched.items():
            if touched is None:
                self.owned.pop(address, None)
            else:
                owned, saved = touched
                owned.restore(saved)
                self.owned[address] = owned
        self._touched.clear()
        self.batch = Batch()
        self.loose.clear()
        self.used.clear()
        self.next_due_known = False
        self.version = self._routes_seen = -1  # read anew what was read or changed in vain

    # -- what others do

    def changed(self) -> bool:
        """Whether another connection has written since the last transaction of this one."""
        return bool(self.execute("PRAGMA data_version").fetchone()[0] != self.version)

    def _see_others(self) -> None:
        (version,) = self.execute("PRAGMA data_version").fetchone()
        if version == self.version:
            return
        self.version = version
        self.next_due_known = False
        self.used.clear()
        if self.holds and not self.execute("SELECT 1 FROM holders WHERE fence = ?", (self.fence,)).fetchone():
            self.holds = False
            self.owned = {}
        counters = dict(self.execute("SELECT name, value FROM counters").fetchall())
        if counters["routes"] != self._routes_seen:
            self._routes_seen = counters["routes"]
            self._read_routes()
        if self.owned:
            self._read_arrived()
        (highest,) = self.execute("SELECT max(seq) FROM messages").fetchone()
        self.last = max(self.last, counters["seq"], highest or 0)
        (self.number,) = self.execute("SELECT coalesce(max(number), 0) FROM turns").fetchone()

    def _read_routes(self) -> None:
        self.routes = Routes()
        for (entry,) in self.execute("SELECT entry FROM kinds ORDER BY name"):
            self.routes.declare(decode_kind(entry))
        for pattern, address in self.execute("SELECT pattern, address FROM waits"):
            self.routes.wait(pattern, address)

    def _read_arrived(self) -> None:
        arrived = self.execute(
            "SELECT m.seq, b.address, m.body FROM messages m CROSS JOIN boxes b ON b.id = m.box "
            "WHERE m.seq > ? AND b.owner = ? ORDER BY m.seq",
            (self.last, self.fence),
        )
        for seq, address, body in arrived.fetchall():
            owned = self.owned[address]
            self.touch(owned)
            message = decode_message(body)
            if message.name and owned.names and (replaced := owned.names.get(message.name)):
                owned.gone(replaced, message.name)
            self.arrive(owned, seq, message)

    def routes_changed(self) -> None:
        """Other processes have to read kinds and waits anew."""
        self._routes_seen += 1
        self.execute("UPDATE counters SET value = ? WHERE name = 'routes'", (self._routes_seen,))

    # -- the mirror

    def held(self, address: str, fence: int) -> Owned:
        """A mailbox that this process holds under `fence`; raises `StaleFence` if it does not."""
        owned = self.owned.get(address)
        if owned is None or fence != self.fence:
            raise StaleFence(f"this process no longer holds {address!r}")
        return owned

    def touch(self, owned: Owned) -> None:
        """Before a mailbox is changed: what it is comes back if the transaction fails."""
        if owned.address not in self._touched:
            self._touched[owned.address] = (owned, owned.saved())

    def own(self, owned: Owned) -> None:
        """A mailbox is held from now on."""
        self._touched.setdefault(owned.address, None)
        self.owned[owned.address] = owned

    def disown(self, owned: Owned) -> None:
        """A mailbox is not held any more."""
        self.touch(owned)
        del self.owned[owned.address]

    def arrive(self, owned: Owned, seq: int, message: Message, lease: Lease | None = None) -> None:
        """A message is new in a held mailbox: hand it out if it is within the window."""
        owned.count += 1
        if message.name:
            owned.names = owned.names or {}
            owned.names[message.name] = seq
        elif owned.behind or self.ahead(owned) >= self.limits.window:
            if not owned.behind:
                owned.behind = True
                self.out.append((owned.address, OVERFLOW, None, None))
            return
        else:
            owned.top = seq
        self.hand(owned, seq, message, lease)

    def hand(self, owned: Owned, seq: int, message: Message, lease: Lease | None = None) -> None:
        """Deliver a message."""
        if owned.handed is None:
            owned.handed = set()
        owned.handed.add(seq)
        self.out.append((owned.address, seq, message, lease))

    @staticmethod
    def ahead(owned: Owned) -> int:
        """How many messages without a name are handed out and not finished."""
        return len(owned.handed or ()) - len(owned.names or ())

    def room_used(self, address: str, box: int, limit: int) -> int:
        """How many messages wait in a mailbox that others hold; more than that only below `limit`."""
        used = self.used.get(address)
        if used is None or used >= limit:
            if box in self.loose:
                self.flush()
            if len(self.used) >= _USED_LIMIT:
                self.used.clear()
            (used,) = self.execute("SELECT count(*) FROM messages WHERE box = ?", (box,)).fetchone()
            self.used[address] = used
        return int(used)
