"""The bus on a store: the kernel's mailboxes, turns, retries and dead letters, under the names of a bus."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aos.codec import encode_payload, payload_decoder
from aos.entropy import Entropy
from aos.errors import AskCycle, AskFailed, AskTimeout, InvalidInput, NoHandler
from aos.kernel import Behaviour, OpenTurn, Runtime
from aos.kernel.handlers import check_handler
from aos.message import Message, kind_of
from aos.messaging.gauge import Gauge
from aos.messaging.group import DurableSubscription, Group, turn_of
from aos.messaging.life import after_cleanup, check_loop, waits_for_itself
from aos.messaging.records import BusStatistics
from aos.resilience.retry import RetryPolicy
from aos.stores import DurableStore, open_store
from aos.stores.records import EACH, SINGLE, DeadLetter, Kind
from aos.stores.routes import Routes
from aos.topic import TopicTable, check_pattern, check_topic

_NAME = re.compile(r"[A-Za-z_][\w.:-]{0,199}")
NEVER = 1e9
"""Seconds. A handler of a bus is not written to be run from its top again, so it stays in memory while it asks."""


class DurableBus:
    """Subscriptions are kinds of mailbox in a store."""

    def __init__(self, store: str | DurableStore, *, entropy: Entropy, patience: float) -> None:
        self.store = open_store(store) if isinstance(store, str) else store
        self._runtime = Runtime(self.store, entropy=entropy, park_for=NEVER, room_timeout=patience)
        self._source = f"bus-{entropy.new_id()}"
        self._patience = patience
        self._groups: dict[str, Group] = {}
        self._routes = Routes()
        self._gauges: TopicTable[Gauge] = TopicTable()
        self._starting = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running = self._closed = False
        self._published = 0

    # --- beginning and end

    async def initialize(self) -> None:
        """Open the store and begin on the running loop."""
        check_loop(self._loop)
        async with self._starting:
            if not self._running:
                self._loop = asyncio.get_running_loop()
                await self._runtime.start()
                self._running, self._closed = True, False
                await self._read_kinds()

    async def _begin(self) -> None:
        check_loop(self._loop)
        if self._closed:
            raise after_cleanup()
        if not self._running:
            await self.initialize()

    async def cleanup(self, deadline: float | None) -> None:
        """Let the handlers that run end, then close the store."""
        if not self._running:
            return
        check_loop(self._loop)
        if self._turn() is not None:
            raise waits_for_itself("cleanup")
        self._running, self._closed = False, True
        try:
            await self._runtime.stop(NEVER if deadline is None else deadline)
        finally:
            for group in self._groups.values():
                for member in list(group.members):
                    group.leave(member)

    async def settle(self) -> None:
        """Wait until no turn runs and no message can have its turn now."""
        check_loop(self._loop)
        if self._turn() is not None:
            raise waits_for_itself("settle")
        if self._running:
            await self._runtime.settle()

    # --- the way in

    async def accept(self, topic: str, payload: Any, id: object) -> int:
        """Accept a message durably; within a handler it goes out with the commit of the handler's turn."""
        await self._begin()
        if id is not None and not (isinstance(id, str) and id):
            raise InvalidInput(f"a message id is text that is not empty, not {id!r}")
        for gauge in self._gauges.match(topic):
            await gauge.admit()
        turn = self._turn()
        if turn is not None and id is None:
            turn.stage(payload, topic=topic)
            reached = len(self._targets(topic, payload, turn))
        else:
            source = self._source if turn is None else turn.address
            reached = await self._runtime.send(payload, topic, "", source, id=str(id or ""))
        self._published += 1
        return reached

    async def request(self, topic: str, payload: Any, timeout: float | None) -> Any:
        """Ask all who hear a topic, and give the first answer that is something."""
        await self._begin()
        check_topic(topic)
        turn = self._turn()
        await self._read_kinds()
        targets = self._targets(topic, payload, turn)
        if not targets:
            raise NoHandler(f"nobody hears {topic!r}: subscribe a handler before the request")
        self._published += 1
        asks = [self._ask(turn, target, topic, payload, timeout) for target in targets]
        return await (asks[0] if len(asks) == 1 else first_answer(asks))

    def _ask(
        self, turn: OpenTurn | None, target: str, topic: str, payload: Any, timeout: float | None
    ) -> Awaitable[Any]:
        if turn is not None:
            return turn.ask_for(target, payload, topic=topic, timeout=timeout)
        return self._runtime.ask(target, payload, topic=topic, timeout=timeout, source=self._source)

    def _turn(self) -> OpenTurn | None:
        """The turn of this bus whose handler runs this code and has not ended."""
        turn = turn_of.get()
        if turn is None or turn.cell.turn is not turn or self._runtime.cells.get(turn.address) is not turn.cell:
            return None
        return turn

    def _targets(self, topic: str, payload: Any, turn: OpenTurn | None) -> list[str]:
        """The mailboxes that a message goes to, by the kinds as they were read last."""
        new_id = self._runtime.new_id() if turn is None else turn.new_id()
        message = Message(new_id, self._source, topic, encode_payload(payload), self._runtime.now())
        return list(self._routes.addresses(message, []))

    async def _read_kinds(self) -> None:
        """Learn what other processes subscribed."""
        kinds = {kind.name: kind for kind in await self.store.kinds()}
        if kinds == self._routes.kinds:
            return
        self._routes, self._gauges = Routes(), TopicTable()
        for kind in kinds.values():
            self._routes.declare(kind)
            if kind.key == EACH:
                gauge = Gauge(kind, self._count, self._patience)
                for pattern in kind.patterns:
                    self._gauges.add(pattern, gauge)

    async def _count(self, kind: str, limit: int) -> int:
        return len(await self.store.agents(kind=kind, limit=limit))

    # --- who hears what

    async def subscribe(
        self,
        topic: str,
        handler: Callable[[Any], Any],
        *,
        name: str | None,
        concurrency: int,
        ordered: bool,
        max_pending: int,
        retry: RetryPolicy,
        timeout: float | None,
    ) -> DurableSubscription:
        """Take messages of a named kind of mailbox; see `MessageBus.subscribe`."""
        await self._begin()
        check_pattern(topic)
        if name is None or not _NAME.fullmatch(name):
            raise InvalidInput(
                f"{name!r} cannot name a subscription in a store, where it finds by its name what it missed: "
                "begin with a letter, go on with letters, digits and '_.:-'"
            )
        wanted = check_handler(handler)
        read = (lambda message: message) if wanted is Message else _reader(wanted)
        group = self._groups.setdefault(name, Group(name, self._runtime))
        kind = Kind(name, (topic,), SINGLE if ordered else EACH, max_pending)
        behaviour = Behaviour(
            kind=kind, handle=group.handle, turn=OpenTurn, retry=retry, timeout=None, ends=not ordered
        )
        known = self._runtime.behaviours.get(name)
        if known is not None and group.members and (known.kind, known.retry) != (kind, retry):
            raise InvalidInput(
                f"subscription {name!r} hears {known.kind.patterns[0]!r} with other options: "
                "those that share a name share topic, max_pending, ordered and retry, so take another name"
            )
        member = DurableSubscription(group, topic, handler, read, concurrency=concurrency, timeout=timeout)
        group.join(member)
        if behaviour != known:
            for cell in self._runtime.cells.values():
                if cell.behaviour is known:
                    cell.behaviour = behaviour
            await self._runtime.add(behaviour)
            await self._read_kinds()
        return member

    async def forget(self, name: str) -> None:
        """Let a name hear nothing more; see `MessageBus.forget`."""
        await self._begin()
        kind = next((kind for kind in await self.store.kinds() if kind.name == name), None)
        if kind is not None:
            await self.store.declare([Kind(name, (), kind.key, kind.limit)], run=False)
            await self._read_kinds()
        for member in list(self._groups[name].members if name in self._groups else ()):
            await member.close()

    # --- what becomes of messages

    async def dead_letters(self, limit: int) -> list[DeadLetter]:
        """All in the store, oldest first."""
        await self._begin()
        return await self.store.dead_letters(limit=limit)

    async def redrive(self, numbers: Sequence[int] | None) -> int:
        """Send dead letters back."""
        await self._begin()
        if numbers is None:
            letters = await self.store.dead_letters(limit=1_000_000)
            numbers = [letter.number for letter in letters if self._hears(kind_of(letter.address))]
        count = await self.store.redrive(numbers)
        self._runtime.look()
        return count

    def _hears(self, name: str) -> bool:
        return name in self._groups and bool(self._groups[name].members)

    def statistics(self) -> BusStatistics:
        """What was done in this process."""
        counts = self._runtime.statistics()
        members = [member for group in self._groups.values() for member in group.members]
        return BusStatistics(
            published=self._published,
            handled=counts.committed,
            retried=counts.retried,
            dead=counts.dead,
            pending=sum(group.members[0].pending for group in self._groups.values() if group.members),
            running=sum(member.running for member in members),
            subscriptions=len(members),
        )


def _reader(wanted: Any) -> Callable[[Message], Any]:
    decode = payload_decoder(wanted)
    return lambda message: decode(message.data)


async def first_answer(asks: Sequence[Awaitable[Any]]) -> Any:
    """The first result that is not None, of requests under way; None if all are; an error if none is and one failed."""
    failures: list[AskCycle | AskFailed | AskTimeout] = []

    async def ask(one: Awaitable[Any]) -> Any:
        try:
            return await one
        except (AskCycle, AskFailed, AskTimeout) as error:
            failures.append(error)
            return None

    async with asyncio.TaskGroup() as group:
        tasks = {group.create_task(ask(one)) for one in asks}
        waiting = tasks
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if task.result() is not None:
                    for other in waiting:
                        other.cancel()
                    return task.result()
    if failures:
        raise failures[0]
    return None
