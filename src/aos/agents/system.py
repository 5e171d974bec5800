"""`AgentOS`: agents on a store, running."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine, Iterable, Sequence
from types import TracebackType
from typing import Any, Self

from aos.agents.agent import Agent
from aos.agents.context import To, address_of
from aos.agents.declare import HandlerTable
from aos.agents.hosting import behaviour_of_class, behaviour_of_object
from aos.agents.purpose import GenericPurposeDrivenAgent
from aos.entropy import Entropy
from aos.errors import InvalidAgent, UnknownAgent
from aos.kernel import Behaviour, Runtime, RuntimeStatistics
from aos.kernel.behaviour import MIB
from aos.kernel.schedule import next_time
from aos.message import Message
from aos.stores import AgentRecord, DurableStore, Limits, open_store
from aos.stores.records import SINGLE, silent_agent

Agents = type[Agent] | GenericPurposeDrivenAgent


class AgentOS:
    """Runs agents on a store until it is stopped.

    `async with AgentOS(store="sqlite:aos.db", agents=[Counter]) as system: …` starts it and stops it again;
    `run()` keeps it running until somebody asks it to stop.

    Args:
        store: `memory:`, `sqlite:PATH`, or a store.
        agents: `Agent` classes and ready-made agents to register.
        seed: Decides ids and chance; None takes it from the system.
        limits: What the store keeps, for a store given as a URL.
        max_turns: Turns that run at once, suspended ones not counted.
        max_active: Agents held in memory at once.
        payload_limit: Bytes that a payload may have.
        lease: Seconds after which another process takes over when this one falls silent.
        idle_after: Seconds after which an idle agent leaves memory.
        park_for: Seconds that a suspended turn stays in memory before it leaves too.
        stop_deadline: Seconds that running turns have to end when the system stops.
    """

    def __init__(
        self,
        store: str | DurableStore = "memory:",
        agents: Iterable[Agents] = (),
        *,
        seed: int | None = None,
        limits: Limits | None = None,
        max_turns: int = 256,
        max_active: int = 100_000,
        payload_limit: int = MIB,
        lease: float = 10.0,
        idle_after: float = 60.0,
        park_for: float = 5.0,
        stop_deadline: float = 10.0,
    ) -> None:
        self.store: DurableStore = open_store(store, limits=limits) if isinstance(store, str) else store
        self.runtime = Runtime(
            self.store,
            entropy=Entropy(seed),
            max_turns=max_turns,
            max_active=max_active,
            payload_limit=payload_limit,
            lease=lease,
            idle_after=idle_after,
            park_for=park_for,
        )
        self._stop_deadline = stop_deadline
        self._started = False
        self._timers: dict[str, HandlerTable] = {}
        self._source = f"system-{self.runtime.new_id()[:8]}"
        for agent in agents:
            self._add(agent)

    # -- life

    async def start(self) -> Self:
        """Open the store and run its agents. Starting twice is harmless."""
        if not self._started:
            await self.runtime.start()
            self._started = True
            try:
                for kind, table in self._timers.items():
                    await self._set_timers(kind, table)
            except BaseException:
                await self.stop()
                raise
        return self

    async def stop(self) -> None:
        """Let running turns end, cancel what is left, close the store. Stopping twice is harmless."""
        self._started = False
        await self.runtime.stop(self._stop_deadline)

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def run(self) -> None:
        """Run until `request_stop`, `aos stop`, SIGINT or SIGTERM; raises what made the system fail."""
        await self.start()
        loop = asyncio.get_running_loop()
        caught: list[signal.Signals] = []
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                try:
                    loop.add_signal_handler(number, self.request_stop)
                except (NotImplementedError, RuntimeError):
                    break  # this loop has no signals: whoever runs it stops it
                caught.append(number)
        try:
            await self.runtime.stop_asked.wait()
        finally:
            for number in caught:
                loop.remove_signal_handler(number)
            await self.stop()

    def request_stop(self) -> None:
        """Have `run` end."""
        self.runtime.stop_asked.set()

    async def settle(self) -> None:
        """Wait until no turn runs and no message can have its turn now. Timers that are not due are not waited for."""
        await self.runtime.settle()

    # -- agents

    async def register(
        self, agent: Agents, *, make: Callable[[], Agent] | None = None, topics: Sequence[str] = ()
    ) -> None:
        """Add an agent, before or after the start.

        Args:
            agent: An `Agent` class, or a ready-made agent.
            make: Makes the object of an `Agent` class, for a class whose `__init__` takes arguments.
            topics: What a ready-made agent hears, besides what is sent to it.
        """
        behaviour = self._add(agent, make=make, topics=topics)
        if self._started:
            await self.runtime.add(behaviour)
            if table := self._timers.get(behaviour.kind.name):
                await self._set_timers(behaviour.kind.name, table)

    def _add(self, agent: Agents, *, make: Callable[[], Agent] | None = None, topics: Sequence[str] = ()) -> Behaviour:
        table = None
        if isinstance(agent, type) and issubclass(agent, Agent):
            behaviour, table = behaviour_of_class(agent, make)
        elif isinstance(agent, GenericPurposeDrivenAgent):
            behaviour = behaviour_of_object(agent, topics)
        else:
            raise InvalidAgent(f"{agent!r} is no agent: give an Agent class, or a GenericPurposeDrivenAgent")
        name = behaviour.kind.name
        if name in self.runtime.behaviours:
            raise InvalidAgent(f"an agent called {name!r} is registered already: give one of them another name")
        self.runtime.behaviours[name] = behaviour
        if table is not None and table.timers:
            self._timers[name] = table
        return behaviour

    async def _set_timers(self, kind: str, table: HandlerTable) -> None:
        """See to it that each repeating handler has its timer; one that runs already is left alone."""
        there = {message.name: message.repeat for message in await self.store.pending(kind, limit=10_000)}
        runtime, now = self.runtime, self.runtime.now()
        for name, handler in table.timers.items():
            if there.get(name) != handler.repeat:
                when = next_time(handler.repeat, after=now)
                timer = Message(runtime.new_id(), kind, "", b"null", now, kind, when, name=name, repeat=handler.repeat)
                await runtime.accept([timer])

    async def agents(
        self, *, kind: str = "", prefix: str = "", after: str = "", limit: int = 1000
    ) -> list[AgentRecord]:
        """Agents in the order of their addresses, those after `after`; at most `limit`."""
        return await self.store.agents(kind=kind, prefix=prefix, after=after, limit=limit)

    async def inspect(self, to: To, key: str | int | None = None) -> AgentRecord:
        """What is known of one agent; raises `UnknownAgent`."""
        address = address_of(to, key)
        record = await self.store.agent(address)
        if record is not None:
            return record
        behaviour = self.runtime.behaviours.get(address)
        if behaviour is None or behaviour.kind.key != SINGLE:
            raise UnknownAgent(address, tuple(self.runtime.behaviours))
        return silent_agent(address)

    # -- messages

    def publish(self, topic: str, payload: Any, *, id: str = "", delay: float = 0.0) -> Coroutine[Any, Any, int]:
        """Publish durably; returns how many agents it reached.

        Args:
            topic: Where.
            payload: JSON data, a dataclass, a pydantic model or a msgspec struct.
            id: With an id, a second message of the same id is left out.
            delay: Seconds before it is delivered.
        """
        return self.runtime.send(payload, topic, "", self._source, delay=delay, id=id)

    async def send(
        self,
        to: To,
        payload: Any,
        *,
        key: str | int | None = None,
        topic: str = "",
        id: str = "",
        delay: float = 0.0,
    ) -> None:
        """Send durably to one agent; raises `UnknownAgent`."""
        address = address_of(to, key)
        await self.runtime.send(payload, topic, address, self._source, delay=delay, id=id)

    async def ask(
        self,
        to: To,
        payload: Any,
        *,
        key: str | int | None = None,
        topic: str = "",
        timeout: float | None = 30.0,
        returns: Any = Any,
    ) -> Any:
        """Ask an agent and wait for what its handler returns; raises `AskTimeout`, `AskFailed`, `UnknownAgent`."""
        return await self.runtime.ask(
            address_of(to, key), payload, topic=topic, timeout=timeout, returns=returns, source=self._source
        )

    def statistics(self) -> RuntimeStatistics:
        """What this system did since it started, and what it holds now."""
        return self.runtime.statistics()
