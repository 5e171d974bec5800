"""Looking at an SQLite store: reads on a connection of their own, beside the one that writes."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from aos.codec import state_decoder
from aos.message import Message, key_of
from aos.stores.presence import Presence, this_process
from aos.stores.records import (
    AgentRecord,
    DeadLetter,
    Holder,
    JournalEntry,
    Kind,
    Limits,
    StoreStatistics,
    TurnRecord,
)

_decode_message = msgspec.msgpack.Decoder(Message).decode
_decode_entry = msgspec.msgpack.Decoder(JournalEntry).decode
_decode_kind = msgspec.msgpack.Decoder(Kind).decode
_decode_names = msgspec.msgpack.Decoder(tuple[str, ...]).decode
_decode_line = msgspec.msgpack.Decoder(list).decode

_AGENT = (
    "SELECT id, address, kind, owner, state, schema, turns, "
    "(SELECT count(*) FROM messages WHERE box = boxes.id), "
    "(SELECT count(*) FROM dead WHERE dead.address = boxes.address) FROM boxes"
)
_LAST = "\U0010ffff"


class Look:
    """The reads of `Inspection`.

    Args:
        connection: A connection that nobody else uses.
        limits: What the store keeps.
    """

    def __init__(self, connection: sqlite3.Connection, limits: Limits) -> None:
        self._execute = connection.execute
        self.close = connection.close
        self._limits = limits

    def agents(self, kind: str, prefix: str, after: str, limit: int) -> list[AgentRecord]:
        """Mailboxes in the order of their addresses."""
        # The bounds let the index of addresses find a kind among a million.
        rows = self._execute(
            f"{_AGENT} WHERE address > ? AND address >= ? AND address >= ? AND address < ? AND address < ? "
            "AND (kind = ? OR ? = '') AND address NOT LIKE '~%' ORDER BY address LIMIT ?",
            (after, prefix, kind, prefix + _LAST, f"{kind}0" if kind else _LAST, kind, kind, limit),
        )
        return [self._agent(row) for row in rows.fetchall()]

    def agent(self, address: str) -> AgentRecord | None:
        """One mailbox."""
        row = self._execute(f"{_AGENT} WHERE address = ?", (address,)).fetchone()
        return None if row is None else self._agent(row)

    def turns(self, address: str, after: int, limit: int) -> list[TurnRecord]:
        """Kept turns in the order they ended."""
        if address:
            limit = min(limit, self._limits.history_count)
        where = "number > ? AND address = ?" if address else "number > ?"
        rows = self._execute(
            f"SELECT number, address, at, entry FROM turns WHERE {where} "  # noqa: S608 - the names are written here
            f"ORDER BY number {'ASC' if after else 'DESC'} LIMIT ?",
            (after, address, limit) if address else (after, limit),
        ).fetchall()
        return [_turn(row) for row in (rows if after else reversed(rows))]

    def pending(self, address: str, limit: int) -> list[Message]:
        """Messages that wait in a mailbox."""
        rows = self._execute(
            "SELECT m.body FROM boxes b JOIN messages m ON m.box = b.id WHERE b.address = ? ORDER BY m.seq LIMIT ?",
            (address, limit),
        )
        return [_decode_message(body) for (body,) in rows.fetchall()]

    def kinds(self) -> list[Kind]:
        """All kinds."""
        return [_decode_kind(entry) for (entry,) in self._execute("SELECT entry FROM kinds ORDER BY name").fetchall()]

    def dead_letters(self, address: str, numbers: Sequence[int], limit: int) -> list[DeadLetter]:
        """Dead letters, oldest first."""
        rows = self._execute(
            "SELECT address, message, error_type, reason, traceback, at, number FROM dead "
            "WHERE (? = '' OR address = ?) AND (? = '[]' OR number IN (SELECT value FROM json_each(?))) "
            "ORDER BY number LIMIT ?",
            (address, address, wanted := msgspec.json.encode(list(numbers)).decode(), wanted, limit),
        )
        return [DeadLetter(where, _decode_message(body), *rest) for where, body, *rest in rows.fetchall()]

    def holders(self) -> list[Holder]:
        """The processes that hold mailboxes, without those that are known to be gone."""
        here = this_process()
        rows = self._execute(
            "SELECT fence, pid, host, started, expires, kinds, stopping, born FROM holders ORDER BY fence"
        )
        return [
            Holder(fence, pid, host, started, expires, _decode_names(kinds), bool(stopping))
            for fence, pid, host, started, expires, kinds, stopping, born in rows.fetchall()
            if not here.is_gone(Presence(pid, host, born))
        ]

    def stopping(self, fence: int) -> bool:
        """Whether a process was asked to stop."""
        row = self._execute("SELECT stopping FROM holders WHERE fence = ?", (fence,)).fetchone()
        return row is not None and bool(row[0])

    def statistics(self) -> StoreStatistics:
        """How much is there."""
        agents, pending, dead, turns, journal = (
            self._execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608 - the names are written here
            for table in ("boxes WHERE address NOT LIKE '~%'", "messages", "dead", "turns", "journal")
        )
        pages, free, size = (
            self._execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
        return StoreStatistics(
            agents=agents, pending=pending, dead=dead, turns_kept=turns, journal=journal, size=(pages - free) * size
        )

    def _agent(self, row: tuple[int, str, str, int | None, bytes | None, int, int, int, int]) -> AgentRecord:
        box, address, kind, owner, state, schema, turns, pending, dead = row
        waits: list[JournalEntry] = []
        if pending:
            entries = self._execute(
                "SELECT j.entry FROM messages m CROSS JOIN journal j ON j.seq = m.seq WHERE m.box = ?", (box,)
            )
            waits = [_decode_entry(entry) for (entry,) in entries.fetchall()]
        latest = self._execute(
            "SELECT number, address, at, entry FROM turns WHERE address = ? ORDER BY number DESC LIMIT 1", (address,)
        ).fetchone()
        last = _turn(latest) if latest else None
        return AgentRecord(
            address=address,
            kind=kind,
            key=key_of(address),
            state=None if state is None else state_decoder(object)(state),
            schema=schema,
            turns=turns,
            pending=pending,
            dead=dead,
            owner=owner,
            waiting_for="; ".join(e.detail for e in waits if not e.done and e.kind != "step"),
            last_turn_at=last.at if last else None,
            last_error=last.error if last else "",
        )


def _turn(row: tuple[int, str, float, bytes]) -> TurnRecord:
    number, address, at, entry = row
    message_id, topic, attempt, outcome, took, sent, error = _decode_line(entry)
    return TurnRecord(number, address, message_id, topic, attempt, outcome, at, took, sent, error)
