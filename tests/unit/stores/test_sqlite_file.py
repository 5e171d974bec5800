"""Opening an SQLite store: what is in the way is said in a line, and no other file is touched."""

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from aos.errors import InvalidInput, StoreCorrupt, StoreFormatTooNew, StoreUnavailable
from aos.message import Message
from aos.stores import Kind, open_store
from aos.stores.sqlite import SqliteStore
from aos.stores.sqlite_file import APPLICATION, FORMAT, connect, explained


async def _open_and_close(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    await store.close()


def _pragma(path: Path, name: str) -> int:
    connection = sqlite3.connect(path)
    try:
        return int(connection.execute(f"PRAGMA {name}").fetchone()[0])
    finally:
        connection.close()


async def test_a_new_file_is_marked_as_ours(tmp_path: Path) -> None:
    """The file says by itself what it is and in which format, also to `file` and `sqlite3`."""
    path = tmp_path / "x ?#%.db"
    await _open_and_close(path)
    assert (_pragma(path, "application_id"), _pragma(path, "user_version")) == (APPLICATION, FORMAT)
    assert os.listdir(tmp_path) == [path.name]  # noqa: PTH208 - names are what is wanted


async def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    """A file of no bytes, as `mktemp` makes it, is used."""
    path = tmp_path / "a.db"
    path.touch()
    await _open_and_close(path)
    assert _pragma(path, "application_id") == APPLICATION


def _text(path: Path) -> None:
    path.write_text("this is a text, and long enough to be no header of any database that there is\n" * 50)


def _short(path: Path) -> None:
    path.write_text("hello")


def _foreign(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.executescript("CREATE TABLE books (title); INSERT INTO books VALUES ('Ulysses')")
    connection.close()


def _foreign_wal(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.executescript("PRAGMA journal_mode = WAL; PRAGMA user_version = 7; CREATE TABLE books (title)")
    connection.close()


@pytest.mark.parametrize("make", [_text, _short, _foreign, _foreign_wal])
async def test_a_file_that_is_no_store_is_refused_untouched(make: Callable[[Path], None], tmp_path: Path) -> None:
    """Not one byte of it changes, and the line says what to do."""
    path = tmp_path / "other.db"
    make(path)
    before = path.read_bytes()
    with pytest.raises(StoreCorrupt, match="no AOS store: name another file"):
        await _open_and_close(path)
    assert path.read_bytes() == before


async def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    """An older AOS does not work on what a newer one wrote."""
    path = tmp_path / "a.db"
    await _open_and_close(path)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreFormatTooNew, match="format 99, this AOS knows up to 1: upgrade AOS"):
        await _open_and_close(path)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        (".", "is a folder: name a file in it"),
        ("nowhere/a.db", "there is no folder .*: make it, or name another file with --store"),
        ("a.txt/a.db", "there is no folder"),
    ],
)
async def test_a_wrong_place_is_named(name: str, line: str, tmp_path: Path) -> None:
    """A folder, or a file in a folder that is not there."""
    (tmp_path / "a.txt").touch()
    with pytest.raises(StoreUnavailable, match=line):
        await _open_and_close(tmp_path / name)


async def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before SQLite says that it is unable to open a database file."""
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(StoreUnavailable, match=r"the folder .* cannot be written to: change its rights"):
        await _open_and_close(tmp_path / "a.db")


async def test_a_memory_database_is_spelled_differently() -> None:
    """`:memory:` would be another database for each connection."""
    with pytest.raises(InvalidInput, match="'memory:'"):
        await open_store("sqlite::memory:").open()


def test_an_unknown_durability_is_refused(tmp_path: Path) -> None:
    """The option is checked before it gets into a statement."""
    with pytest.raises(InvalidInput, match="synchronous='LOTS'"):
        SqliteStore(tmp_path / "a.db", synchronous="LOTS")  # type: ignore[arg-type]


async def test_a_url_opens_the_same_store(tmp_path: Path) -> None:
    """What `url` says is what `open_store` takes."""
    store = SqliteStore(tmp_path / "a.db")
    again = open_store(store.url)
    assert again.url == store.url == f"sqlite:{tmp_path / 'a.db'}"


async def _damaged(path: Path) -> None:
    await _open_and_close(path)
    connection = sqlite3.connect(path)
    root = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'boxes'").fetchone()[0]
    size = connection.execute("PRAGMA page_size").fetchone()[0]
    connection.close()
    with path.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xff" * size)


async def test_a_damaged_file_is_named_when_it_is_found_out(tmp_path: Path) -> None:
    """Damage in the middle of a file is a `StoreCorrupt` with what to do, when it is come across."""
    path = tmp_path / "a.db"
    await _damaged(path)
    store = SqliteStore(path)
    await store.open()
    await store.declare([Kind("Tally")])
    with pytest.raises(StoreCorrupt, match=r"is damaged .* keep a copy"):
        await store.append([Message("m", "test", "", b"1", 0.0, "Tally")])
    await store.close()


async def test_a_damaged_beginning_is_named_at_once(tmp_path: Path) -> None:
    """A file that begins like a store and goes on like nothing else is not opened."""
    path = tmp_path / "a.db"
    await _open_and_close(path)
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 1000)
    with pytest.raises(StoreCorrupt, match=r"is damaged .* keep a copy"):
        await _open_and_close(path)


def _fail(statement: Callable[[sqlite3.Connection], Any], connection: sqlite3.Connection) -> sqlite3.Error:
    with pytest.raises(sqlite3.Error) as raised:
        statement(connection)
    return raised.value


def test_a_full_disk_is_explained(tmp_path: Path) -> None:
    """SQLite's own error becomes one that says what to do and that nothing was changed."""
    connection = connect(tmp_path / "a.db", synchronous="FULL", wait=0)
    connection.execute("PRAGMA max_page_count = 40")
    error = _fail(lambda c: c.execute("INSERT INTO seen VALUES (1, zeroblob(1000000), 0)"), connection)
    connection.close()
    assert "no room is left on the disk of" in str(explained(error, tmp_path / "a.db"))


def test_a_file_that_may_only_be_read_is_explained(tmp_path: Path) -> None:
    """The line names rights, not an attempt to write a readonly database."""
    connect(tmp_path / "a.db", synchronous="FULL", wait=0).close()
    connection = sqlite3.connect(f"file:{tmp_path / 'a.db'}?mode=ro", uri=True)
    error = _fail(lambda c: c.execute("DELETE FROM seen"), connection)
    connection.close()
    assert "cannot be written to: change the rights" in str(explained(error, tmp_path / "a.db"))


def test_whoever_has_the_lock_is_named(tmp_path: Path) -> None:
    """A lock that does not go away is reported with the process that has it."""
    path = tmp_path / "a.db"
    connect(path, synchronous="FULL", wait=0).close()
    code = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None); c.execute('BEGIN IMMEDIATE');"
        "print('locked', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(sqlite3.OperationalError) as raised:
            connect(path, synchronous="FULL", wait=0)
        explanation = str(explained(raised.value, path))
        other.communicate()
    assert f"is locked by process {other.pid}: wait until it lets go, or end it" in explanation


async def test_several_processes_may_make_the_file_at_once(tmp_path: Path) -> None:
    """Whoever is first makes it, and the others find it made."""
    stores = [SqliteStore(tmp_path / "a.db") for _ in range(8)]
    opening: list[Awaitable[int]] = [store.open() for store in stores]
    await asyncio.gather(*opening)
    for store in stores:
        assert await store.kinds() == []
        await store.close()


async def test_a_cancelled_open_leaves_nothing_open(tmp_path: Path) -> None:
    """The connection that comes too late is closed, and the store can be opened again."""
    store = SqliteStore(tmp_path / "a.db")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await store.open()
    await store.open()
    await store.close()
