"""The stage on which the contract of stores is played: processes, their inboxes, and a clock that the test moves."""
# ruff: noqa: S101 - a contract asserts

from __future__ import annotations

import asyncio
import functools
import inspect
import itertools
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from aos.codec import encode_payload, encode_state
from aos.message import Message
from aos.stores.port import DurableStore
from aos.stores.records import DeadLetter, JournalEntry, Kind, Lease, Limits, Outcome, Turn

EPOCH = 1_800_000_000.0


class MakeStore(Protocol):
    """Makes a store; each call makes one more on the same data, as one more process would."""

    def __call__(self, limits: Limits | None = None) -> DurableStore:
        """A store that is not open yet."""


class Clock(asyncio.SelectorEventLoop):
    """The stock loop with a wall clock that stands still until it is moved."""

    def __init__(self) -> None:
        self._wall = EPOCH
        super().__init__()

    def wall_time(self) -> float:
        """Seconds since the epoch."""
        return self._wall

    def move(self, seconds: float) -> None:
        """Let time pass."""
        self._wall += seconds


class Recorder:
    """An inbox that keeps what it is told."""

    def __init__(self) -> None:
        self.log: list[tuple[str, int, Message]] = []
        self.waiting: dict[str, dict[int, Message]] = {}
        self.leases: dict[str, list[Lease]] = {}
        self.overflowing: set[str] = set()
        self.looks = 0
        self.revocations = 0

    def deliver(self, address: str, seq: int, message: Message | None, lease: Lease | None) -> None:
        """Keep a message with the others of its mailbox; with a lease, forget those."""
        if lease is not None:
            self.leases.setdefault(address, []).append(lease)
            self.waiting[address] = {}
        if message is not None:
            assert address in self.waiting, f"{address!r} was never leased to this process"
            waiting = self.waiting[address]
            assert seq not in waiting, f"message {seq} of {address!r} was delivered twice"
            if message.name:
                for other in [other for other, m in waiting.items() if m.name == message.name]:
                    del waiting[other]
            self.log.append((address, seq, message))
            waiting[seq] = message

    def overflow(self, address: str) -> None:
        """Keep that there is more."""
        self.overflowing.add(address)

    def look(self) -> None:
        """Count."""
        self.looks += 1

    def revoked(self) -> None:
        """Count, and forget everything."""
        self.revocations += 1
        self.waiting.clear()


class Process:
    """A store with its inbox, and short ways to say what a kernel would."""

    def __init__(self, store: DurableStore, world: World) -> None:
        self.store = store
        self.inbox = Recorder()
        self.fence = 0
        self._world = world

    async def open(self, kinds: Sequence[Kind], *, run: bool, lease: float, capacity: int) -> None:
        """Open the store, declare the kinds, take what is due."""
        self.fence = await self.store.open(self.inbox, lease=lease, capacity=capacity)
        self.inbox.waiting[f"~{self.fence}"] = {}
        await self.store.declare(kinds, run=run)
        await self.store.claim()

    async def send(self, to: str, *values: object, **attributes: Any) -> int:
        """Append one message for each value, all at once."""
        return await self.store.append([self._world.message(to, value, **attributes) for value in values])

    async def publish(self, topic: str, *values: object, **attributes: Any) -> int:
        """The same for a topic."""
        return await self.store.append([self._world.message("", value, topic, **attributes) for value in values])

    def values(self, address: str) -> list[Any]:
        """The payloads that wait in a held mailbox, as they were delivered."""
        return [message.payload() for message in self.inbox.waiting.get(address, {}).values()]

    def seqs(self, address: str) -> list[int]:
        """Their numbers."""
        return list(self.inbox.waiting.get(address, {}))

    def turn(
        self,
        address: str,
        outcome: Outcome = "committed",
        *,
        seq: int | None = None,
        state: object = None,
        message: Message | None = None,
        **parts: Any,
    ) -> Turn:
        """A turn for the first message that waits in a mailbox, or for the one with a number."""
        waiting = self.inbox.waiting[address]
        seq = next(iter(waiting)) if seq is None else seq
        message = message or waiting[seq]
        dead = DeadLetter(address, message, "ValueError", "it is poison", "Traceback …", self._world.clock.wall_time())
        return Turn(
            address,
            self.fence,
            seq,
            outcome,
            message,
            None if state is None else encode_state(state),
            dead=dead if outcome == "dead" else None,
            at=self._world.clock.wall_time(),
            **parts,
        )

    async def commit(self, address: str, outcome: Outcome = "committed", **parts: Any) -> None:
        """Commit such a turn."""
        turn = self.turn(address, outcome, **parts)
        waiting = self.inbox.waiting[address]
        gone = self._named(address, turn.forget)
        await self.store.commit(turn)
        for seq in gone:
            waiting.pop(seq, None)
        if outcome == "retry":
            waiting[turn.seq] = turn.message
        else:
            waiting.pop(turn.seq, None)

    async def record(self, address: str, entry: JournalEntry, **parts: Any) -> None:
        """Record an entry of the turn for the first message that waits."""
        seq = self.seqs(address)[0]
        gone = [*self._named(address, parts.get("forget", ())), parts.get("consumed", 0)]
        await self.store.record(address, self.fence, seq, entry, **parts)
        for used in gone:
            self.inbox.waiting[address].pop(used, None)

    async def release(self, *addresses: str, suspended: bool = False) -> list[str]:
        """Give mailboxes up; returns those given up."""
        released = await self.store.release([(address, suspended) for address in addresses], self.fence)
        for address in released:
            del self.inbox.waiting[address]
        return released

    async def die(self) -> None:
        """Fall silent for longer than any lease."""
        self._world.clock.move(3600.0)

    def _named(self, address: str, names: Sequence[str]) -> list[int]:
        return [seq for seq, message in self.inbox.waiting[address].items() if message.name in names]


class World:
    """What a scenario has."""

    def __init__(self, make_store: MakeStore, clock: Clock) -> None:
        self.clock = clock
        self._make_store = make_store
        self._count = itertools.count(1)
        self._processes: list[Process] = []

    async def process(
        self,
        *kinds: Kind,
        run: bool = True,
        limits: Limits | None = None,
        lease: float = 10.0,
        capacity: int = 1000,
    ) -> Process:
        """A process that has the store open and runs these kinds."""
        process = Process(self._make_store(limits), self)
        self._processes.append(process)
        await process.open(kinds, run=run, lease=lease, capacity=capacity)
        return process

    def message(self, to: str, value: object = None, topic: str = "", /, **attributes: Any) -> Message:
        """A message with a new id."""
        attributes.setdefault("id", f"m{next(self._count)}")
        attributes.setdefault("source", "test")
        return Message(type=topic, data=encode_payload(value), time=self.clock.wall_time(), subject=to, **attributes)

    async def at_once(self, *asked: Awaitable[Any]) -> list[Any]:
        """Ask for all of it in one step of the loop; what is refused stands as its error."""
        return await asyncio.gather(*asked, return_exceptions=True)

    async def close(self) -> None:
        """Close every store."""
        for process in self._processes:
            await process.store.close()


def scenario(play: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """A test of the contract: runs on a new loop, with a clock that it moves itself, and closes what it opened."""

    async def on_stage(self: Any, make_store: MakeStore, **parameters: Any) -> None:
        clock = asyncio.get_running_loop()
        assert isinstance(clock, Clock)
        world = World(make_store, clock)
        try:
            await play(self, world, **parameters)
        finally:
            await world.close()

    @functools.wraps(play)
    def test(self: Any, make_store: MakeStore, **parameters: Any) -> None:
        with asyncio.Runner(loop_factory=Clock) as runner:
            runner.run(on_stage(self, make_store, **parameters))

    # What pytest is to fill in: `make_store` stands where the scenario has its world.
    asked = inspect.signature(play)
    parameters = [p.replace(name="make_store") if p.name == "world" else p for p in asked.parameters.values()]
    test.__signature__ = asked.replace(parameters=parameters)  # type: ignore[attr-defined]  # functions take it
    return test


__all__ = ["Clock", "MakeStore", "Process", "Recorder", "World", "scenario"]
