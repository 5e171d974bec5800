"""`BusAdapter`: orchestrations that a system carries out, durably."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aos.agents.agent import Agent
from aos.agents.context import address_of
from aos.errors import UnknownAgent
from aos.message import kind_of
from aos.orchestration.adapters import DirectAdapter, DurableAdapter
from aos.orchestration.durable import Answer, Orchestration, Order
from aos.orchestration.entry import task_event
from aos.orchestration.errors import OrchestrationError
from aos.orchestration.limits import Limits
from aos.orchestration.plan import NO_OUTPUT, Plan
from aos.orchestration.result import OrchestrationResult

if TYPE_CHECKING:
    from aos.agents.system import AgentOS

KEEP = 7 * 86_400.0
"""Seconds that the result of a run with an id is kept if nothing else is said."""


class BusAdapter(DurableAdapter):
    """Runs orchestrations durably, with agents that a system hosts and with objects of this process.

    A run that a crash interrupted goes on as soon as the system runs again and `initialize`, or any `execute`, was
    called; steps that ended are not run again, the one that was under way is. Hosted agents get the task as a message
    (an `@on()` handler takes it), and what they are doing cannot be called back: a time-out ends the waiting, and the
    record says that the agent was not stopped. In parallel mode the next agent starts when the oldest that runs has
    ended, and after a failure with `stop_on_error` those that run are let end. All tasks, outputs and contexts are
    JSON data.

    Args:
        system: The system whose store keeps the runs.
        name: First part of the runs' addresses; two adapters of one system need two names.
        keep: Seconds that the result of a run with a `run_id` is kept.

    Example:
        adapter = BusAdapter(system)
        adapter.register_agent("writer", Writer)
        adapter.register_agent("editor", "Editor/de")
        result = await SequentialOrchestrator().execute("an essay", adapter, run_id="essay-7")
    """

    def __init__(self, system: AgentOS, *, name: str = "Orchestration", keep: float = KEEP) -> None:
        if not keep > 0:
            raise OrchestrationError(f"keep is a number of seconds above 0, not {keep!r}")
        self._system = system
        self._name = name
        self._keep = keep
        self._addresses: dict[str, str] = {}
        self._objects = DirectAdapter()
        self._starting = asyncio.Lock()
        self._started = False

    @property
    def agents(self) -> tuple[str, ...]:
        """The names of the agents, in the order in which they were registered."""
        return tuple(self._addresses)

    def register_agent(self, name: str, agent: object, *, key: str | int | None = None) -> None:
        """Make an agent known under a name.

        Args:
            name: Its name in plans and records.
            agent: An address, an `Agent` class, an agent that the system hosts, or any object that `DirectAdapter`
                takes, which after a restart has to be registered again under the same name.
            key: For a class of keyed agents: which of them.

        Raises:
            OrchestrationError: The name is taken or empty, or the object has no method that it could be called by.
        """
        if not name:
            raise OrchestrationError("an agent's name cannot be empty: the results are told apart by it")
        if name in self._addresses:
            raise OrchestrationError(f"an agent called {name!r} is registered already: take another name")
        if isinstance(agent, str) or (isinstance(agent, type) and issubclass(agent, Agent)):
            self._addresses[name] = address_of(agent, key)
            return
        agent_id = getattr(agent, "agent_id", None)
        if isinstance(agent_id, str) and agent_id in self._system.runtime.behaviours:
            self._addresses[name] = agent_id
            return
        self._objects.register_agent(name, agent)
        self._addresses[name] = ""

    async def initialize(self) -> None:
        """Have unfinished runs go on. The first `execute` does it too; doing it twice is harmless.

        Raises:
            InvalidAgent: The system has an agent of the adapter's name.
        """
        async with self._starting:
            if not self._started:
                cls = type("Orchestration", (Orchestration,), {"name": self._name})
                await self._system.register(cls, make=lambda: cls(self._objects))
                self._started = True

    async def call(
        self, agent: str, task: Any, previous: Any = NO_OUTPUT, *, context: Mapping[str, Any] | None = None
    ) -> Any:
        """Give an agent its task and return its output; this alone is not durable.

        Raises:
            UnknownAgent: No agent has this name.
            AskFailed: A hosted agent failed.
        """
        address = self._addresses.get(agent)
        if address is None:
            raise UnknownAgent(agent, self.agents)
        if not address:
            return await self._objects.call(agent, task, previous, context=context)
        return await self._system.ask(address, task_event(task, previous, context), timeout=None)

    async def carry_out(
        self, plan: Plan, task: Any, limits: Limits, *, context: Mapping[str, Any] | None, run_id: str | None
    ) -> OrchestrationResult:
        """Carry a plan out, or go on with the run of this id. Who cancels this cancels the waiting, not the run.

        Raises:
            OrchestrationError: The run of this id is another one.
            UnknownAgent: The store knows no agent of a registered address.
            AskFailed: The run itself failed and is among the dead letters.
        """
        if run_id == "":
            raise OrchestrationError("run_id is a text that is not empty, or None for a run of its own")
        await self.initialize()
        options = plan.options()
        addresses = {name: self._addresses[name] for name in options["agents"]}
        known = {kind.name for kind in await self._system.store.kinds()}
        for address in addresses.values():
            if address and kind_of(address) not in known:
                raise UnknownAgent(address, tuple(known))
        new_id = self._system.runtime.new_id
        keep = self._keep if run_id is not None else 0.0
        order = Order(run_id or new_id(), plan.mode, options, addresses, task, dict(context or {}), limits, keep)
        answer: Answer = await self._system.ask(self._name, order, key=order.run_id, timeout=None, returns=Answer)
        if answer.result is None:
            raise OrchestrationError(answer.refused)
        return answer.result
