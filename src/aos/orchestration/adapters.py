"""How an orchestrator reaches its agents: the port, and the adapter for objects in this process."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Protocol

from aos.errors import UnknownAgent
from aos.orchestration.entry import Entry, entry_of
from aos.orchestration.errors import OrchestrationError
from aos.orchestration.limits import Limits
from aos.orchestration.plan import NO_OUTPUT, Plan
from aos.orchestration.result import OrchestrationResult


class CommunicationAdapter(Protocol):
    """What an orchestrator needs to know of a way to reach agents."""

    @property
    def agents(self) -> Sequence[str]:
        """The names of the agents, in the order in which they were registered."""

    async def call(
        self, agent: str, task: Any, previous: Any = NO_OUTPUT, *, context: Mapping[str, Any] | None = None
    ) -> Any:
        """Give an agent its task and return its output.

        Args:
            agent: Its name.
            task: The task of the whole orchestration.
            previous: What the step before returned.
            context: What else the agents are told.
        """


class DurableAdapter(ABC):
    """What a `CommunicationAdapter` inherits from to say that it carries whole plans out, durably."""

    @abstractmethod
    async def carry_out(
        self, plan: Plan, task: Any, limits: Limits, *, context: Mapping[str, Any] | None, run_id: str | None
    ) -> OrchestrationResult:
        """Carry a plan out, or go on with the run of this id."""


class DirectAdapter:
    """Calls agents that are objects of this process.

    An agent is called by the first of `handle_event`, `generate_code`, `review_code` and a plain call that
    it has; `entry_of` has the details. Methods may be async or plain functions; a plain function that
    blocks, blocks the loop.

    Example:
        adapter = DirectAdapter()
        adapter.register_agent("generator", generator)
        adapter.register_agent("reviewer", reviewer)
        result = await SequentialOrchestrator().execute("write a parser", adapter)
    """

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._names: tuple[str, ...] = ()

    @property
    def agents(self) -> tuple[str, ...]:
        """The names of the agents, in the order in which they were registered."""
        return self._names

    def register_agent(self, name: str, agent: object) -> None:
        """Make an agent known under a name.

        Raises:
            OrchestrationError: The name is taken or empty, or the agent has no method that it could be
                called by.
        """
        if not name:
            raise OrchestrationError("an agent's name cannot be empty: the results are told apart by it")
        if name in self._entries:
            raise OrchestrationError(
                f"an agent called {name!r} is registered already: "
                f"take another name, or unregister_agent({name!r}) first"
            )
        self._entries[name] = entry_of(agent)
        self._names = tuple(self._entries)

    def unregister_agent(self, name: str) -> None:
        """Forget an agent. Calls that it has begun go on.

        Raises:
            UnknownAgent: No agent has this name.
        """
        if name not in self._entries:
            raise UnknownAgent(name, self._names)
        del self._entries[name]
        self._names = tuple(self._entries)

    async def call(
        self, agent: str, task: Any, previous: Any = NO_OUTPUT, *, context: Mapping[str, Any] | None = None
    ) -> Any:
        """Give an agent its task and return its output; what the agent raises is raised here.

        Raises:
            UnknownAgent: No agent has this name.
        """
        entry = self._entries.get(agent)
        if entry is None:
            raise UnknownAgent(agent, self._names)
        output = entry(task, previous, context)
        return await output if isinstance(output, Awaitable) else output


def chosen(adapter: CommunicationAdapter, agents: Sequence[str] | None) -> tuple[str, ...]:
    """The agents that take part, in order: all of the adapter's, or those that were asked for.

    Raises:
        OrchestrationError: There are none, or one is named twice.
        UnknownAgent: One of them is not registered.
    """
    known = tuple(adapter.agents)
    if not known:
        raise OrchestrationError("no agent is registered, so there is nothing to orchestrate: register_agent() first")
    if agents is None:
        return known
    if not agents:
        raise OrchestrationError("agents=[] names no agent: name one at least, or leave it out to call all")
    for name in agents:
        if name not in known:
            raise UnknownAgent(name, known)
    if len(set(agents)) != len(agents):
        raise OrchestrationError(f"agents={list(agents)!r} names one twice; register it under a second name for that")
    return tuple(agents)
