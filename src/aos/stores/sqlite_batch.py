"""Rows that one transaction will write, gathered so that each table is written in one go."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain

MessageRow = tuple[int, int, float, str | None, bytes]
"""seq, box, due, name, body"""

_BACK = "UPDATE messages SET due = ?, body = ? WHERE seq = ?"
_COUNT = "UPDATE boxes SET turns = ? WHERE id = ?"
_END = "DELETE FROM journal WHERE seq = ?"
_ENTRY = "INSERT INTO journal (seq, name, entry) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET entry = excluded.entry"
_BOX = "DELETE FROM boxes WHERE id = ?"
_SEEN = "INSERT INTO seen (id, until) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET until = excluded.until"

# Each with the same for many rows, where `{}` is that number of rows of question marks.
_DELETE = ("DELETE FROM messages WHERE seq = ?", "DELETE FROM messages WHERE seq IN (VALUES {})")
_INSERT = (
    "INSERT INTO messages (seq, box, due, name, body) VALUES (?, ?, ?, ?, ?)",
    "INSERT INTO messages (seq, box, due, name, body) VALUES {}",
)
_STATE = (
    "UPDATE boxes SET state = ?, schema = ?, turns = ? WHERE id = ?",
    """UPDATE boxes SET state = new.column1, schema = new.column2, turns = new.column3
    FROM (VALUES {}) AS new WHERE boxes.id = new.column4""",
)
_TURN = (
    "INSERT INTO turns (number, address, at, entry) VALUES (?, ?, ?, ?)",
    "INSERT INTO turns (number, address, at, entry) VALUES {}",
)
_SIZES = (64, 16, 4)


class Batch:
    """What is to be written to the tables that every turn writes to. All else is written at once, after this."""

    __slots__ = ("_back", "_boxes", "_counts", "_deletes", "_ends", "_entries", "_inserts", "_states", "_turns", "seen")

    def __init__(self) -> None:
        self._deletes: list[tuple[int]] = []
        self._back: dict[int, tuple[float, bytes, int]] = {}
        self._inserts: dict[int, MessageRow] = {}
        self._states: dict[int, tuple[bytes, int, int, int]] = {}
        self._counts: dict[int, tuple[int, int]] = {}
        self._turns: list[tuple[int, str, float, bytes]] = []
        self._ends: list[tuple[int]] = []
        self._boxes: list[tuple[int]] = []
        self._entries: dict[tuple[int, str], bytes] = {}
        self.seen: dict[str, float] = {}

    def insert(self, row: MessageRow) -> None:
        """A new message."""
        self._inserts[row[0]] = row

    def delete(self, seq: int) -> None:
        """A message goes."""
        if self._inserts.pop(seq, None) is None:
            self._deletes.append((seq,))

    def put_back(self, seq: int, due: float, body: bytes) -> None:
        """A message waits for another attempt."""
        self._back[seq] = (due, body, seq)

    def state(self, box: int, state: bytes | None, schema: int, turns: int) -> None:
        """A mailbox after a turn; without a state it keeps the one it has."""
        if state is not None:
            self._states[box] = (state, schema, turns, box)
            self._counts.pop(box, None)
        elif (before := self._states.get(box)) is not None:
            self._states[box] = (*before[:2], turns, box)
        else:
            self._counts[box] = (turns, box)

    def turn(self, number: int, address: str, at: float, entry: bytes) -> None:
        """A line of history."""
        self._turns.append((number, address, at, entry))

    def entry(self, seq: int, name: str, entry: bytes) -> None:
        """A journal entry of a message's turn."""
        self._entries[seq, name] = entry

    def end_journal(self, seq: int) -> None:
        """The turn of a message is over."""
        for key in [key for key in self._entries if key[0] == seq]:
            del self._entries[key]
        self._ends.append((seq,))

    def end_box(self, box: int) -> None:
        """A mailbox goes; its messages are gone already."""
        self._boxes.append((box,))

    @property
    def deletes(self) -> bool:
        """Whether messages go."""
        return bool(self._deletes)

    @property
    def inserts(self) -> dict[int, MessageRow]:
        """New messages by their numbers."""
        return self._inserts

    def write(self, connection: sqlite3.Connection) -> None:
        """Write what was gathered."""
        for statements, rows in (
            (_DELETE, self._deletes),
            (_STATE, self._states.values()),
            (_INSERT, self._inserts.values()),
            (_TURN, self._turns),
        ):
            if rows:
                _write_rows(connection, statements, list(rows))
        entries = [(seq, name, entry) for (seq, name), entry in self._entries.items()]
        for statement, others in (
            (_BACK, self._back.values()),
            (_COUNT, self._counts.values()),
            (_END, self._ends),
            (_ENTRY, entries),
            (_SEEN, self.seen.items()),
            (_BOX, self._boxes),
        ):
            if others:
                connection.executemany(statement, others)


def _write_rows(
    connection: sqlite3.Connection, statements: tuple[str, str], rows: Sequence[tuple[object, ...]]
) -> None:
    """Write rows by as few statements as there can be.

    Each step of a statement lets go of the interpreter's lock and has to get it back from a loop that is at work.
    """
    for_one, for_many = statements
    start, left = 0, len(rows)
    for size in _SIZES:
        while left >= size:
            values = list(chain.from_iterable(rows[start : start + size]))
            connection.execute(_for_rows(for_many, size, len(rows[0])), values)
            start, left = start + size, left - size
    for row in rows[start:]:
        connection.execute(for_one, row)


@lru_cache(maxsize=64)
def _for_rows(statement: str, rows: int, columns: int) -> str:
    row = f"({', '.join('?' * columns)})"
    return statement.format(", ".join([row] * rows))
