"""The file of an SQLite store: how it is opened, made and recognised, and what its errors mean."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from aos.errors import InvalidInput, StoreCorrupt, StoreError, StoreFormatTooNew, StoreFull, StoreUnavailable

APPLICATION = 0x414F5331
"""`AOS1`: marks the file as ours, where `file(1)` and we look for it."""
FORMAT = 1
"""Version of the schema, in `PRAGMA user_version`."""

Synchronous = Literal["OFF", "NORMAL", "FULL", "EXTRA"]

_NO_RIGHT = (
    StoreUnavailable,
    "{where} or its folder cannot be written to: change the rights, or name another file with --store",
)
_LOCKED = (StoreUnavailable, "{where} is locked by {others}: wait until it lets go, or end it")
_MEANINGS: dict[int, tuple[type[StoreError], str]] = {
    sqlite3.SQLITE_FULL: (
        StoreFull,
        "no room is left on the disk of {where}; nothing was changed: free some space and go on",
    ),
    sqlite3.SQLITE_IOERR: (
        StoreUnavailable,
        "the disk failed under {where} ({said}): check it, then start again",
    ),
    sqlite3.SQLITE_BUSY: _LOCKED,
    sqlite3.SQLITE_LOCKED: _LOCKED,
    sqlite3.SQLITE_READONLY: _NO_RIGHT,
    sqlite3.SQLITE_PERM: _NO_RIGHT,
    sqlite3.SQLITE_AUTH: _NO_RIGHT,
    sqlite3.SQLITE_CANTOPEN: (
        StoreUnavailable,
        "{where} cannot be opened: check the rights of the file and its folder, or name another file with --store",
    ),
    sqlite3.SQLITE_NOTADB: (StoreCorrupt, "{where} is no AOS store: name another file with --store"),
    sqlite3.SQLITE_CORRUPT: (
        StoreCorrupt,
        "{where} is damaged ({said}): stop all that uses it, keep a copy, then put a backup there or try '.recover'",
    ),
}
_OLDEST = (3, 35, 0)
_ROOM = 1 << 20
_TRIES = 1000


def check_path(path: Path) -> None:
    """Raise what is wrong with the place of a store before SQLite sees it."""
    folder = path.parent
    if sqlite3.sqlite_version_info < _OLDEST:
        raise StoreUnavailable(f"this Python has SQLite {sqlite3.sqlite_version}, AOS needs 3.35 or later")
    if str(path) == ":memory:":
        raise InvalidInput("a store in memory is written 'memory:'")
    if path.is_dir():
        raise StoreUnavailable(f"{str(path)!r} is a folder: name a file in it, for example {str(path / 'aos.db')!r}")
    if not folder.is_dir():
        raise StoreUnavailable(f"there is no folder {str(folder)!r}: make it, or name another file with --store")
    if not path.exists() and not os.access(folder, os.W_OK):
        raise StoreUnavailable(
            f"the folder {str(folder)!r} cannot be written to: change its rights, or name another file with --store"
        )


def connect(path: Path, *, synchronous: Synchronous, wait: float) -> sqlite3.Connection:
    """A connection that writes, to a file that is made if it is not there.

    Nothing is written to a file that is no AOS store.

    Args:
        path: The file.
        synchronous: How far SQLite waits for the disk.
        wait: Seconds to wait for a lock that another process has.
    """
    check_path(path)
    connection = _connection(path, "rwc", wait)
    try:
        connection.execute("BEGIN")  # one view of the file, which another process may be making
        found = _format(connection, path)
        connection.execute("ROLLBACK")
        if not found:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            _make(connection, path)
        connection.execute("BEGIN IMMEDIATE")  # may it be written to?
        connection.execute("ROLLBACK")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute("PRAGMA journal_size_limit = 67108864")
    except BaseException:
        connection.close()
        raise
    return connection


def connect_to_look(path: Path, *, wait: float) -> sqlite3.Connection:
    """A connection to a store that is there, which only reads."""
    connection = _connection(path, "rw", wait)
    connection.execute("PRAGMA query_only = ON")
    return connection


def _connection(path: Path, mode: str, wait: float) -> sqlite3.Connection:
    # Its thread is whichever the executor has; only one at a time uses it.
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=wait,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection


def _format(connection: sqlite3.Connection, path: Path) -> int:
    """The format of an AOS store, 0 for an empty file."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION:
        if application or version or connection.execute("SELECT 1 FROM sqlite_schema").fetchone():
            raise StoreCorrupt(f"{str(path)!r} is an SQLite file, but no AOS store: name another file with --store")
        return 0
    if version > FORMAT:
        raise StoreFormatTooNew(repr(str(path)), version, FORMAT)
    return int(version)


def _make(connection: sqlite3.Connection, path: Path) -> None:
    if not _switch_to_wal(connection):
        raise StoreUnavailable(
            f"the disk of {str(path)!r} cannot share memory between processes, as a network disk cannot: "
            "name a file on a local disk with --store"
        )
    connection.execute("BEGIN IMMEDIATE")
    if not _format(connection, path):  # another process may have been faster
        schema = Path(__file__).with_name("sqlite_schema.sql").read_text()
        for statement in schema.split(";\n"):
            if statement.strip():
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        connection.execute(f"PRAGMA user_version = {FORMAT}")
    connection.execute("COMMIT")


def _switch_to_wal(connection: sqlite3.Connection) -> bool:
    for left in reversed(range(_TRIES)):
        try:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or not left:
                raise
            # Another process switches the same new file. The switch does not wait for that, this does.
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        else:
            return bool(mode == "wal")
    return False


def explained(error: sqlite3.Error, path: Path, holders: Sequence[int] = ()) -> StoreError:
    """An error of SQLite in the words of AOS, with what to do.

    Args:
        error: What SQLite said.
        path: The store's file.
        holders: Ids of other processes that hold mailboxes, to name when a lock is in the way.
    """
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_IOERR and _is_full(path):
        code = sqlite3.SQLITE_FULL
    kind, text = _MEANINGS.get(code, (StoreUnavailable, "SQLite could not work on {where}: {said}"))
    others = "another process"
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED} and (pids := _lockers(path) or holders):
        others = f"process {', '.join(map(str, pids))}"
    return kind(text.format(where=repr(str(path)), said=_said(error), others=others))


def _said(error: sqlite3.Error) -> str:
    name = getattr(error, "sqlite_errorname", "")
    return f"{error}, {name}" if name else str(error)


def _is_full(path: Path) -> bool:
    try:
        return shutil.disk_usage(path.parent).free < _ROOM
    except OSError:
        return False


def _lockers(path: Path) -> list[int]:
    """Processes that have a write lock on a store, where the system tells."""
    try:
        # Only `stat`: to open the file and close it again would drop the locks that this process has on it.
        inodes = {str(Path(f"{path}{suffix}").stat().st_ino) for suffix in ("", "-shm")}
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return []
    fields = (line.split() for line in lines)
    return sorted({int(f[4]) for f in fields if len(f) > 5 and f[3] == "WRITE" and f[5].rpartition(":")[2] in inodes})
