"""`AgentOrchestrator`: agents that know their own names, coordinated in any mode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from aos.orchestration.adapters import DirectAdapter
from aos.orchestration.errors import OrchestrationError
from aos.orchestration.handoff import MAX_CALLS, HandOffOrchestrator
from aos.orchestration.parallel import MAX_CONCURRENCY, ParallelOrchestrator
from aos.orchestration.result import Mode, OrchestrationResult
from aos.orchestration.run import Runs
from aos.orchestration.sequential import SequentialOrchestrator


class AgentOrchestrator:
    """Coordinates agents that are objects of this process and know their own ids.

    It does not own the agents: who made them initializes them and cleans them up.

    Args:
        max_concurrency: How many agents run at once in parallel mode.
        max_calls: How many calls a hand-off may take.
        grace: Seconds that an agent may take to end after its cancellation; then it is left behind and
            reported.

    Example:
        async with AgentOrchestrator() as orchestrator:
            await orchestrator.register_agent(writer)
            await orchestrator.register_agent(editor)
            result = await orchestrator.coordinate_agents(task="an essay on sleep", agent_timeout=60)
    """

    def __init__(
        self, *, max_concurrency: int = MAX_CONCURRENCY, max_calls: int = MAX_CALLS, grace: float = 5.0
    ) -> None:
        self._max_concurrency = max_concurrency
        self._max_calls = max_calls
        self._grace = grace
        self._adapter = DirectAdapter()
        self._runs = Runs()
        self._closed = False

    @property
    def agents(self) -> tuple[str, ...]:
        """The ids of the agents, in the order in which they were registered."""
        return self._adapter.agents

    async def initialize(self) -> None:
        """Be ready; after `cleanup`, be ready again. Initializing twice is harmless."""
        self._closed = False

    async def register_agent(self, agent: object) -> None:
        """Make an agent known under its id: its `agent_id`, `id` or `name`, the first that is a text.

        Raises:
            OrchestrationError: It has no id, the id is taken, or there is no method that it could be called
                by.
        """
        self._adapter.register_agent(_id_of(agent), agent)

    async def unregister_agent(self, agent_id: str) -> None:
        """Forget an agent. Calls that it has begun go on.

        Raises:
            UnknownAgent: No agent has this id.
        """
        self._adapter.unregister_agent(agent_id)

    async def coordinate_agents(
        self,
        task: Any,
        *,
        mode: Mode = "sequential",
        agents: Sequence[str] | None = None,
        context: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        agent_timeout: float | None = None,
        stop_on_error: bool | None = None,
    ) -> OrchestrationResult:
        """Give a task to the agents. What an agent does wrong is in its record; it is not raised.

        Args:
            task: What is to be done; each agent gets it.
            mode: "sequential": one after the other, each gets the output of the one before. "parallel": at
                the same time. "handoff": the first, then the one that it names, and so on.
            agents: Which agents take part, in this order; None is all, as they were registered.
            context: What else the agents are told.
            timeout: Seconds for the whole orchestration; None is without limit.
            agent_timeout: Seconds for each agent; None is without limit.
            stop_on_error: Whether an agent that does not complete ends the orchestration; None is yes for
                sequential and no for parallel. A hand-off always ends there.

        Raises:
            OrchestrationError: No agent is registered, the mode is unknown, or `cleanup` was called before.
            UnknownAgent: One of `agents` is not registered.
        """
        if self._closed:
            raise OrchestrationError("the orchestrator was cleaned up: initialize() it again, and register its agents")
        orchestrator: SequentialOrchestrator | ParallelOrchestrator | HandOffOrchestrator
        if mode == "sequential":
            orchestrator = SequentialOrchestrator(
                timeout=timeout,
                agent_timeout=agent_timeout,
                stop_on_error=stop_on_error is not False,
                grace=self._grace,
                runs=self._runs,
            )
        elif mode == "parallel":
            orchestrator = ParallelOrchestrator(
                max_concurrency=self._max_concurrency,
                timeout=timeout,
                agent_timeout=agent_timeout,
                stop_on_error=stop_on_error is True,
                grace=self._grace,
                runs=self._runs,
            )
        elif mode == "handoff":
            orchestrator = HandOffOrchestrator(
                max_calls=self._max_calls,
                timeout=timeout,
                agent_timeout=agent_timeout,
                grace=self._grace,
                runs=self._runs,
            )
        else:
            raise OrchestrationError(f"mode is 'sequential', 'parallel' or 'handoff', not {mode!r}")
        return await orchestrator.execute(task, self._adapter, agents=agents, context=context)

    async def cleanup(self) -> None:
        """Cancel what runs, wait until it has ended (for `grace` seconds at most) and forget the agents.

        Orchestrations that were going on return, with the records of what was cancelled. Cleaning up twice,
        or before `initialize`, is harmless.
        """
        self._closed = True
        await self._runs.close(grace=self._grace)
        self._adapter = DirectAdapter()

    async def __aenter__(self) -> Self:
        await self.initialize()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cleanup()


def _id_of(agent: object) -> str:
    for name in ("agent_id", "id", "name"):
        value = getattr(agent, name, None)
        if isinstance(value, str) and value:
            return value
    raise OrchestrationError(
        f"a {type(agent).__name__} without an id cannot be registered: give it an agent_id that is a text"
    )
