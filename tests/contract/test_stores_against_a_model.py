"""Random histories of several processes on one store, against a model of a few dictionaries."""

import asyncio
import itertools
import sqlite3
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

import aos.stores.sqlite as engine
from aos.errors import MailboxFull, StaleFence, StoreFull
from aos.message import REPLY, Message
from aos.stores.memory import Memory, MemoryStore
from aos.stores.records import EACH, Kind, Limits
from aos.stores.sqlite import SqliteStore
from aos.testing.contract import Clock, Process, World

KINDS = [
    Kind("Tally", ("all.>",)),
    Kind("File", ("all.files",), key="id"),
    Kind("Small", (), limit=4),
    Kind("Work", ("work",), key=EACH),
]
TARGETS = st.sampled_from(["Tally", "File/a", "File/b", "Small", "@all.files", "@all.else", "@work"])
NAMES = st.sampled_from(["", "", "", "t", "u"])
DELAYS = st.sampled_from([0.0, 0.0, 0.0, 5.0])
SENT = st.lists(st.tuples(TARGETS, NAMES, DELAYS, st.booleans()), min_size=1, max_size=4)
FAULTS = st.none() | st.integers(0, 12)
WINDOW = 3


class Faulty:
    """A connection that fails at a chosen statement, as a full disk would."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.left: int | None = None

    def _count(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                error = sqlite3.OperationalError("database or disk is full")
                error.sqlite_errorcode = sqlite3.SQLITE_FULL
                raise error

    def execute(self, statement: str, *rest: Any) -> Any:
        if statement != "ROLLBACK":
            self._count()
        return self._connection.execute(statement, *rest)

    def executemany(self, *rest: Any) -> Any:
        self._count()
        return self._connection.executemany(*rest)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


class Model:
    """What must be in the store: messages by mailbox in order, turns, states, dead letters."""

    def __init__(self) -> None:
        self.boxes: dict[str, dict[str, Message]] = {}
        self.turns: dict[str, int] = {}
        self.states: dict[str, object] = {}
        self.dead: list[tuple[str, str]] = []

    def targets(self, message: Message) -> list[str]:
        if message.subject:
            return [message.subject]
        if message.type == "work":
            return [f"Work/{message.id}"]
        return ["Tally", *(["File/" + message.payload()["id"]] if message.type == "all.files" else [])]

    def place(self, messages: list[Message], leaving: str = "") -> list[tuple[str, Message]]:
        """Where messages go; `MailboxFull` if one of them does not fit."""
        placed: list[tuple[str, Message]] = []
        for message in messages:
            for address in self.targets(message):
                box = self.boxes.get(address, {})
                count = len(box) + sum(a == address for a, _ in placed) - (address == leaving)
                replaces = message.name and any(m.name == message.name for m in box.values())
                if address == "Small" and count >= 4 and not replaces:
                    raise MailboxFull(address, 4)
                placed.append((address, message))
        return placed

    def put(self, placed: list[tuple[str, Message]]) -> None:
        for address, message in placed:
            box = self.boxes.setdefault(address, {})
            self.forget(address, message.name)
            box[message.id] = message

    def forget(self, address: str, name: str) -> None:
        box = self.boxes.get(address, {})
        for id_ in [id_ for id_, m in box.items() if name and m.name == name]:
            del box[id_]


class Histories(RuleBasedStateMachine):
    """Two processes, any of which may fall silent, die, begin anew, or meet a full disk."""

    make: Callable[[Path], Callable[..., Any]]

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        make = type(self).make(Path(self.folder.name))
        self.runner = asyncio.Runner(loop_factory=Clock)
        self.loop = self.runner.get_loop()
        self.world = World(lambda limits=None: make(limits=Limits(window=WINDOW, history_count=5)), self.loop)
        self.model = Model()
        self.processes: list[Process] = []
        self.ids = itertools.count(1)

    def play(self, coroutine: Any) -> Any:
        return self.runner.run(coroutine)

    def faults(self, process: Process) -> Faulty | None:
        ledger = getattr(process.store, "_ledger", None)
        return getattr(ledger, "connection", None)

    def messages(self, sent: list[tuple[str, str, float, bool]]) -> list[Message]:
        return [
            Message(
                f"id{next(self.ids)}",
                "test",
                to[1:] if to.startswith("@") else "",
                b'{"id":"a"}' if same else b'{"id":"b"}',
                self.loop.wall_time(),
                "" if to.startswith("@") else to,
                self.loop.wall_time() + delay if delay else 0.0,
                name=name,
            )
            for to, name, delay, same in sent
        ]

    @initialize()
    def begin(self) -> None:
        for _ in range(2):
            self.processes.append(self.play(self.world.process(*KINDS)))

    def attempt(
        self, process: Process, verb: Callable[[], Any], fault: int | None, message: tuple[str, str] | None = None
    ) -> bool:
        """Whether an operation was done; if it was refused, that it had the right to be.

        With a fault, the disk is full at that statement; then there is room again and it is tried once more.
        """
        faulty = self.faults(process)
        if faulty is not None:
            faulty.left = fault
            try:
                self.play(verb())
            except StoreFull:
                pass
            except StaleFence:
                return self.was_stale(process, message)
            else:
                return True
            finally:
                faulty.left = None
        try:
            self.play(verb())
        except StaleFence:
            return self.was_stale(process, message)
        return True

    def was_stale(self, process: Process, message: tuple[str, str] | None) -> bool:
        assert message is not None
        address, id_ = message
        fences = [holder.fence for holder in self.play(process.store.holders())]
        assert process.fence not in fences or id_ not in self.model.boxes[address]
        return False

    # -- what happens

    @rule(which=st.integers(0, 1), sent=SENT, fault=FAULTS)
    def append(self, which: int, sent: list[Any], fault: int | None) -> None:
        process, messages = self.processes[which], self.messages(sent)
        try:
            placed = self.model.place(messages)
        except MailboxFull:
            placed = None
        try:
            done = self.attempt(process, lambda: process.store.append(messages), fault)
        except MailboxFull:
            assert placed is None
        else:
            assert placed is not None or not done
            if done:
                self.model.put(placed)

    @rule(
        which=st.integers(0, 1),
        pick=st.integers(0, 99),
        outcome=st.sampled_from(["committed", "committed", "committed", "retry", "dead", "discarded"]),
        sent=st.just([]) | SENT,
        forget=NAMES,
        fault=FAULTS,
    )
    def commit(self, *, which: int, pick: int, outcome: Any, sent: list[Any], forget: str, fault: int | None) -> None:
        process, model = self.processes[which], self.model
        held = sorted(address for address, waiting in process.inbox.waiting.items() if waiting)
        if not held:
            return
        address = held[pick % len(held)]
        seq = process.seqs(address)[pick % len(process.seqs(address))]
        message = process.inbox.waiting[address][seq]
        again = msgspec.structs.replace(message, attempt=message.attempt + 1)
        outgoing, n = self.messages(sent), model.turns.get(address, 0) + 1
        turn = process.turn(
            address,
            outcome,
            seq=seq,
            state={"n": n} if outcome == "committed" else None,
            message=again if outcome == "retry" else message,
            outgoing=tuple(outgoing),
            forget=(forget,) if forget else (),
            ends=address.startswith("Work/"),
        )
        try:
            placed = model.place(outgoing, "" if outcome == "retry" else address)
        except MailboxFull:
            placed = None
        waiting = process.inbox.waiting[address]
        forgotten = [other for other, m in waiting.items() if forget and m.name == forget]
        try:
            done = self.attempt(process, lambda: process.store.commit(turn), fault, (address, message.id))
        except MailboxFull:
            assert placed is None
            return
        if not done:
            return
        assert placed is not None, "a full mailbox took a message"
        box = model.boxes[address]
        assert message.id in box, "a message had two turns"
        if outcome == "retry":
            box[message.id] = waiting[seq] = again
        else:
            del box[message.id]
            waiting.pop(seq, None)  # gone already where a message that went out has its name
        if outcome == "dead":
            model.dead.append((address, message.id))
        if outcome == "committed":
            model.turns[address], model.states[address] = n, {"n": n}
        model.forget(address, forget)
        for other in forgotten:
            waiting.pop(other, None)
        model.put(placed)

    @rule(which=st.integers(0, 1), fault=FAULTS)
    def claim(self, which: int, fault: int | None) -> None:
        process = self.processes[which]
        self.attempt(process, process.store.claim, fault)
        if process.inbox.revocations:
            process.inbox.revocations = 0
            self.play(process.open(KINDS, run=True, lease=10.0, capacity=1000))
        self.check_what_was_handed_out(process)

    @rule(which=st.integers(0, 1), suspended=st.booleans(), fault=FAULTS)
    def release(self, which: int, suspended: bool, fault: int | None) -> None:
        process = self.processes[which]
        held = [address for address in process.inbox.waiting if not address.startswith("~")]
        self.attempt(process, lambda: process.release(*held, suspended=suspended), fault)

    @rule(which=st.integers(0, 1), fault=FAULTS)
    def load(self, which: int, fault: int | None = None) -> None:
        process = self.processes[which]
        for address in sorted(process.inbox.overflowing & set(process.inbox.waiting)):
            tops = [seq for to, seq, m in process.inbox.log if to == address and not m.name]
            process.inbox.overflowing.discard(address)
            self.attempt(process, partial(process.store.load, address, max(tops, default=0)), fault)

    @rule(which=st.integers(0, 1), drop=st.booleans(), pick=st.integers(0, 99), fault=FAULTS)
    def put_right(self, which: int, drop: bool, pick: int, fault: int | None) -> None:
        process = self.processes[which]
        letters = self.play(process.store.dead_letters())
        if not letters:
            return
        letter = letters[pick % len(letters)]
        verb = process.store.drop if drop else process.store.redrive
        self.attempt(process, lambda: verb([letter.number]), fault)
        self.model.dead.remove((letter.address, letter.message.id))
        if not drop:
            again = msgspec.structs.replace(letter.message, attempt=1, not_before=0.0, name="")
            self.model.put([(letter.address, again)])

    @rule(seconds=st.sampled_from([1.0, 6.0, 3600.0]))
    def time_passes(self, seconds: float) -> None:
        self.loop.move(seconds)

    @rule(which=st.integers(0, 1))
    def a_process_dies(self, which: int) -> None:
        self.loop.move(3600.0)
        self.processes[which] = self.play(self.world.process(*KINDS))

    # -- what must hold

    def check_what_was_handed_out(self, process: Process) -> None:
        """A holder that is up to date has what is in its mailboxes, in order, or was told that there is more."""
        for address, waiting in process.inbox.waiting.items():
            handed = list(waiting.values())
            there = list(self.model.boxes.get(address, {}).values())
            if address in process.inbox.overflowing:
                there = [message for message in there if message in handed]
            assert sorted(handed, key=lambda m: m.id) == sorted(there, key=lambda m: m.id)
            unnamed = [message for message in handed if not message.name]
            assert unnamed == [message for message in there if not message.name]

    @invariant()
    def the_store_is_as_the_model(self) -> None:
        if not self.processes:
            return
        store = self.processes[0].store
        for record in self.play(store.agents()):
            address = record.address
            assert self.play(store.pending(address)) == list(self.model.boxes.get(address, {}).values())
            if not address.startswith("Work/"):
                assert record.turns == self.model.turns.get(address, 0)
                assert record.state == self.model.states.get(address)
        pending = self.play(store.statistics()).pending
        assert pending == sum(map(len, self.model.boxes.values()))
        letters = self.play(store.dead_letters())
        assert [(letter.address, letter.message.id) for letter in letters] == self.model.dead

    def teardown(self) -> None:
        """What is left can all be handled by one process, to the last message."""
        try:
            if self.processes:
                self.a_process_dies(0)
                process = self.processes[0]
                for address in [address for address, box in self.model.boxes.items() if box]:
                    wake = self.world.message(address, None, REPLY)  # given up as suspended, it waits for an answer
                    self.play(process.store.append([wake]))
                    self.model.put([(address, wake)])
                for _ in range(1000):
                    held = [address for address, waiting in process.inbox.waiting.items() if waiting]
                    if not held:
                        self.loop.move(60.0)
                        self.claim(0, None)
                        self.load(0)
                    for address in held:
                        self.commit_first(process, address)
                    if not any(self.model.boxes.values()):
                        break
                assert self.play(process.store.statistics()).pending == 0
            self.play(self.world.close())
        finally:
            self.runner.close()
            self.folder.cleanup()

    def commit_first(self, process: Process, address: str) -> None:
        (message, *_) = process.inbox.waiting[address].values()
        self.play(process.commit(address, ends=address.startswith("Work/")))
        del self.model.boxes[address][message.id]


def _memory(_: Path) -> Callable[..., Any]:
    shared = Memory()
    return lambda limits: MemoryStore(limits=limits, shared=shared)


def _sqlite(folder: Path) -> Callable[..., Any]:
    return lambda limits: SqliteStore(folder / "store.db", limits=limits, synchronous="OFF")


@pytest.mark.slow
@pytest.mark.timeout(300)  # thousands of small transactions, on a machine that may be busy
@pytest.mark.parametrize("make", [_memory, _sqlite])
def test_a_store_accounts_for_every_message(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever two processes do, each accepted message is waiting, handled once, or a dead letter."""
    monkeypatch.setattr(engine, "connect", lambda *args, **kwargs: Faulty(connect(*args, **kwargs)))
    machine = type("Machine", (Histories,), {"make": staticmethod(make)})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=25, stateful_step_count=30, report_multiple_bugs=False)
    )


connect = engine.connect
