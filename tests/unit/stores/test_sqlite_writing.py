"""How an SQLite store writes: many operations at once, each with its own fate, whatever the disk does."""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from aos.errors import (
    InvalidInput,
    InvalidTopic,
    MailboxFull,
    StaleFence,
    StoreCorrupt,
    StoreFull,
    StoreUnavailable,
    UnknownAgent,
)
from aos.message import Message
from aos.stores.records import EACH, DeadLetter, Kind, Limits, Turn
from aos.stores.sqlite import SqliteStore
from aos.stores.sqlite_file import connect
from aos.testing.contract import Recorder

KINDS = [Kind("Tally"), Kind("Small", limit=1), Kind("Work", ("work",), key=EACH)]


def _message(to: str, value: int = 0, **attributes: Any) -> Message:
    attributes.setdefault("source", "test")
    return Message(id=f"m{value}", type="", data=b"%d" % value, time=0.0, subject=to, **attributes)


def _turn(store: SqliteStore, inbox: Recorder, address: str = "Tally", **parts: Any) -> Turn:
    seq, message = next(iter(inbox.waiting[address].items()))
    return Turn(address, _ledger(store).fence, seq, "committed", message, **parts)


def _ledger(store: SqliteStore) -> Any:
    return store._ledger


@pytest.fixture
def inbox() -> Recorder:
    """An inbox that keeps what it gets."""
    return Recorder()


@pytest.fixture
async def store(tmp_path: Path, inbox: Recorder) -> AsyncIterator[SqliteStore]:
    """An open store that runs three kinds."""
    store = SqliteStore(tmp_path / "a.db", wait=0.0)
    fence = await store.open(inbox)
    inbox.waiting[f"~{fence}"] = {}
    await store.declare(KINDS)
    yield store
    await store.close()


class Traced:
    """Counts the statements of a store's writing connection."""

    def __init__(self, store: SqliteStore) -> None:
        self.statements: list[str] = []
        _ledger(store).connection.set_trace_callback(self.statements.append)

    def count(self, beginning: str) -> int:
        return sum(statement.startswith(beginning) for statement in self.statements)


async def test_what_is_asked_for_together_is_one_transaction(store: SqliteStore) -> None:
    """A hundred operations of one step of the loop wait for the disk once."""
    traced = Traced(store)
    await asyncio.gather(*(store.append([_message("Tally", i)]) for i in range(100)))
    assert (traced.count("BEGIN"), traced.count("COMMIT")) == (1, 1)


async def test_what_comes_while_the_disk_works_is_gathered(store: SqliteStore) -> None:
    """While one transaction is written the next one gathers."""
    traced = Traced(store)
    first = asyncio.ensure_future(store.append([_message("Tally", 0)]))
    for _ in range(3):  # its transaction has begun
        await asyncio.sleep(0)
    rest = [asyncio.ensure_future(store.append([_message("Tally", i)])) for i in range(1, 50)]
    await asyncio.gather(first, *rest)
    assert traced.count("COMMIT") <= 2


async def test_a_turn_touches_no_index_but_those_of_its_rows(store: SqliteStore, inbox: Recorder) -> None:
    """The hot path is one statement for each table."""
    await store.append([_message("Tally", 1)])
    traced = Traced(store)
    await store.commit(_turn(store, inbox, state=b"\x80", outgoing=(_message("Tally", 2),)))
    words = [" ".join(statement.split()[:3]) for statement in traced.statements]
    assert words == [
        "BEGIN IMMEDIATE",
        "PRAGMA data_version",
        "DELETE FROM messages",
        "UPDATE boxes SET",
        "INSERT INTO messages",
        "INSERT INTO turns",
        "COMMIT",
    ]


async def test_deliveries_come_before_answers_and_in_order(store: SqliteStore, inbox: Recorder) -> None:
    """Who waits for an operation finds its deliveries done, and those of the operations before it."""
    seen: list[int] = []

    async def append(i: int) -> None:
        await store.append([_message("Tally", i)])
        seen.append(len(inbox.log))

    await asyncio.gather(*(append(i) for i in range(10)))
    assert [m.id for _, _, m in inbox.log] == [f"m{i}" for i in range(10)]
    assert all(found > i for i, found in enumerate(seen))


async def test_a_message_that_cannot_be_stored_is_refused_alone(store: SqliteStore, inbox: Recorder) -> None:
    """Text that is no Unicode harms nobody but its sender."""
    odd = store.append([_message("Tally", 1, source="\ud800")])
    results = await asyncio.gather(odd, store.append([_message("Tally", 2)]), return_exceptions=True)
    assert isinstance(results[0], InvalidInput)
    assert results[1] == 1
    assert [m.id for _, _, m in inbox.log] == ["m2"]


def _fill(store: SqliteStore, *, pages: int) -> None:
    connection: sqlite3.Connection = _ledger(store).connection
    (used,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {used + pages}")


async def test_a_full_disk_refuses_the_whole_transaction_and_nothing_is_lost(
    store: SqliteStore, inbox: Recorder
) -> None:
    """Every operation of it fails with what to do; when there is room again all of them can be done."""
    await store.append([_message("Tally", 1), _message("Small", 2)])
    turn = _turn(store, inbox, state=b"\x80", outgoing=(_message("Tally", 3),), forget=("t",))
    large = _message("Tally", 4)
    large = Message(large.id, "test", "", b"1" * 100_000, 0.0, "Tally")
    verbs: list[Callable[[], Any]] = [
        lambda: store.commit(turn),
        lambda: store.append([large], once=True),
        lambda: store.append([_message("Work/x", 5)]),
        lambda: store.append([_message("Small", 6)]),
        lambda: store.declare([Kind("New", ("new",))]),
    ]
    _fill(store, pages=3)
    results = await asyncio.gather(*(verb() for verb in verbs), return_exceptions=True)
    assert [type(result) for result in results] == [StoreFull] * 5
    assert [m.id for m in await store.pending("Tally")] == ["m1"]
    assert (await store.statistics()).agents == 2
    assert len(inbox.log) == 2
    _fill(store, pages=1_000_000)
    results = await asyncio.gather(*(verb() for verb in verbs), return_exceptions=True)
    assert results[:3] == [None, 1, 1]
    assert isinstance(results[3], MailboxFull)
    assert [m.id for m in await store.pending("Tally")] == ["m3", "m4"]
    assert await store.append([Message("n", "test", "new", b"1", 0.0)]) == 1
    seqs = [seq for _, seq, _ in inbox.log]
    assert seqs == sorted(set(seqs))


async def test_a_lock_that_stays_is_reported_and_survived(store: SqliteStore, tmp_path: Path) -> None:
    """Nothing was written, and the next operation tries again."""
    other = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="is locked by process"):
        await store.append([_message("Tally", 1)])
    other.execute("ROLLBACK")
    other.close()
    assert await store.append([_message("Tally", 2)]) == 1
    assert [m.id for m in await store.pending("Tally")] == ["m2"]


async def test_a_failing_close_closes_all_the_same(tmp_path: Path, inbox: Recorder) -> None:
    """It says that it could not give up what is held, and leaves neither file nor thread open."""
    store = SqliteStore(tmp_path / "a.db", wait=0.0)
    await store.open(inbox)
    other = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="is locked"):
        await store.close()
    await store.close()
    other.close()
    await store.open(inbox)
    await store.close()


async def test_a_cancelled_close_closes(tmp_path: Path, inbox: Recorder) -> None:
    """Whoever stops waiting for it does not stop it."""
    store = SqliteStore(tmp_path / "a.db")
    await store.open(inbox)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await store.close()
    await store.close()
    assert not (tmp_path / "a.db-wal").exists()


async def test_a_store_can_be_opened_again(tmp_path: Path, inbox: Recorder) -> None:
    """Also on another loop, which a second test of the same program has."""
    store = SqliteStore(tmp_path / "a.db")
    for _ in range(2):
        await store.open(inbox)
        await store.declare(KINDS)
        await store.close()


async def test_who_only_looks_holds_nothing(store: SqliteStore, tmp_path: Path) -> None:
    """Without an inbox a process is no holder; it appends and looks."""
    visitor = SqliteStore(tmp_path / "a.db")
    assert await visitor.open() == 0
    await visitor.claim()
    assert await visitor.append([_message("Tally", 1)]) == 1
    with pytest.raises(UnknownAgent):
        await visitor.append([_message("Nobody", 1)])
    assert await visitor.due() == (None, True)
    assert not await visitor.stop_requested()
    assert len(await visitor.holders()) == 1
    with pytest.raises(StaleFence):
        await visitor.commit(Turn("Tally", 0, 1, "committed", _message("Tally", 1)))
    await visitor.close()


async def test_a_dead_process_is_taken_over_at_once(store: SqliteStore, inbox: Recorder, tmp_path: Path) -> None:
    """A holder whose process has ended does not have to run out of its lease."""
    other = SqliteStore(tmp_path / "a.db")
    theirs = Recorder()
    await other.open(theirs, lease=3600.0)
    await other.declare(KINDS)
    await other.append([_message("Tally", 1)])
    await store.claim()
    assert "Tally" not in inbox.waiting
    with sqlite3.connect(tmp_path / "a.db") as file:
        file.execute("UPDATE holders SET born = '1' WHERE fence = ?", (_ledger(other).fence,))
    file.close()
    await store.claim()
    assert [m.id for m in inbox.waiting["Tally"].values()] == ["m1"]
    await other.close()


async def test_old_history_and_old_ids_go(tmp_path: Path, inbox: Recorder) -> None:
    """What is older than its bound is taken away while the process claims; the newest turn stays."""
    store = SqliteStore(tmp_path / "a.db", limits=Limits(history_age=0.0, dedupe_age=0.0))
    await store.open(inbox)
    await store.declare(KINDS)
    for i in range(5):
        await store.append([_message("Tally", i)], once=True)
        await store.commit(_turn(store, inbox, at=float(i)))
        inbox.waiting["Tally"].clear()
    store._mail._trimmed_at = None
    await store.claim()
    assert [turn.message_id for turn in await store.turns()] == ["m4"]
    assert _ledger(store).connection.execute("SELECT count(*) FROM seen").fetchone() == (0,)
    await store.close()


async def test_freed_room_goes_back_to_the_disk(store: SqliteStore, inbox: Recorder) -> None:
    """After a burst of messages was handled the file shrinks, a little with each claim."""
    large = [Message(f"b{i}", "test", "", b"1" * 50_000, 0.0, "Tally") for i in range(300)]
    await store.append(large)
    size = (await store.statistics()).size
    for seq, message in list(inbox.waiting["Tally"].items()):
        await store.commit(Turn("Tally", _ledger(store).fence, seq, "discarded", message))
    for _ in range(100):
        store._mail._trimmed_at = None
        await store.claim()
    (pages,) = _ledger(store).connection.execute("PRAGMA page_count").fetchone()
    assert pages * 4096 < size / 2


async def test_an_operation_that_breaks_down_harms_no_other(store: SqliteStore, inbox: Recorder) -> None:
    """A number that SQLite cannot hold fails alone; what was asked for together with it happens once."""
    asked = [store.append([_message("Tally", 1)]), store.drop([2**70]), store.append([_message("Tally", 2)])]
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(result) for result in results] == [int, OverflowError, int]
    assert [m.id for _, _, m in inbox.log] == ["m1", "m2"]


async def test_the_text_of_an_error_may_be_anything(store: SqliteStore, inbox: Recorder) -> None:
    """A handler's error that is no Unicode is kept as well as it can be."""
    await store.append([_message("Tally", 1)])
    message = inbox.waiting["Tally"][next(iter(inbox.waiting["Tally"]))]
    letter = DeadLetter("Tally", message, "Odd", "\udcff", "\udcff", 0.0)
    turn = msgspec.structs.replace(_turn(store, inbox), outcome="dead", dead=letter, error="\udcff")
    await store.commit(turn)
    assert [letter.reason for letter in await store.dead_letters()] == ["?"]
    assert [turn.error for turn in await store.turns()] == ["?"]


async def test_a_wrong_pattern_declares_nothing(store: SqliteStore) -> None:
    """All kinds of a declaration are accepted or none."""
    with pytest.raises(InvalidTopic):
        await store.declare([Kind("Good", ("good",)), Kind("Bad", ("not..this",))])
    assert "Good" not in {kind.name for kind in await store.kinds()}


async def test_an_inbox_that_raises_is_heard_of(store: SqliteStore, inbox: Recorder) -> None:
    """Nobody waits for ever because of it."""
    inbox.waiting.clear()
    inbox.deliver = lambda *_: 1 / 0  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError):
        await store.append([_message("Tally", 1)])


@pytest.mark.parametrize("how", ["deleted", "replaced"])
async def test_a_file_that_goes_away_is_noticed(store: SqliteStore, tmp_path: Path, how: str) -> None:
    """Nobody goes on writing into a file that has no name any more."""
    for suffix in ("", "-wal", "-shm"):
        os.unlink(tmp_path / f"a.db{suffix}")  # noqa: PTH108 - a test may wait for a file
    if how == "replaced":
        connect(tmp_path / "a.db", synchronous="OFF", wait=0.0).close()
    with pytest.raises(StoreCorrupt, match=f"was {how} while it was in use"):
        await store.claim()


async def test_an_open_that_fails_leaves_nothing_open(tmp_path: Path, inbox: Recorder) -> None:
    """It can be tried again when the reason is gone."""
    store = SqliteStore(tmp_path / "a.db", wait=0.0)
    await store.open()
    await store.close()
    other = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable):
        await store.open(inbox)
    other.close()
    assert await store.open(inbox) == 1
    await store.close()
