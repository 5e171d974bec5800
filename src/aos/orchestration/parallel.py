"""All agents at once, each with the task alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from aos.orchestration.adapters import CommunicationAdapter, chosen
from aos.orchestration.errors import OrchestrationError
from aos.orchestration.execute import execute
from aos.orchestration.limits import Limits
from aos.orchestration.plan import NO_OUTPUT, Call, skipped
from aos.orchestration.result import Mode, OrchestrationResult, StepRecord
from aos.orchestration.run import Runs

MAX_CONCURRENCY = 16
"""How many agents run at once if nothing else is said."""


class ParallelPlan:
    """Calls the agents in order, as many at once as it may."""

    mode: ClassVar[Mode] = "parallel"
    __slots__ = ("_agents", "_ended", "_max_concurrency", "_next", "_stop_on_error", "halted")

    def __init__(self, *, agents: Sequence[str], stop_on_error: bool, max_concurrency: int) -> None:
        if max_concurrency < 1:
            raise OrchestrationError(
                f"max_concurrency is how many agents run at once, 1 or more, not {max_concurrency!r}"
            )
        self.halted = ""
        self._agents = agents
        self._next = 0
        self._ended: dict[str, StepRecord] = {}
        self._stop_on_error = stop_on_error
        self._max_concurrency = max_concurrency

    def options(self) -> dict[str, Any]:
        """What makes the same plan anew."""
        return {
            "agents": self._agents,
            "stop_on_error": self._stop_on_error,
            "max_concurrency": self._max_concurrency,
        }

    def next(self) -> Call | None:
        """The next agent, unless as many run as may."""
        running = self._next - len(self._ended)
        if running == self._max_concurrency or self._next == len(self._agents):
            return None
        self._next += 1
        return Call(self._agents[self._next - 1], NO_OUTPUT)

    def ended(self, record: StepRecord) -> None:
        """Note it."""
        self._ended[record.agent] = record
        if self._stop_on_error and record.status != "completed" and not self.halted:
            self.halted = f"{record.agent!r} {record.status}"

    def records(self, why: str) -> list[StepRecord]:
        """One record per agent, in the order in which they were registered."""
        return [self._ended.get(agent) or skipped(agent, why) for agent in self._agents]

    def output(self) -> dict[str, Any]:
        """What the agents that completed returned, by name, in the order in which they were registered."""
        ended = (self._ended.get(agent) for agent in self._agents)
        return {record.agent: record.output for record in ended if record and record.status == "completed"}


class ParallelOrchestrator:
    """Runs agents at the same time, each with the task alone; one that fails leaves the others alone.

    Args:
        max_concurrency: How many agents run at once; the others wait, and their time-out begins when they
            start.
        timeout: Seconds for the whole orchestration; None is without limit.
        agent_timeout: Seconds for each agent; None is without limit.
        stop_on_error: Whether an agent that does not complete cancels those that still run and skips those
            that wait.
        grace: Seconds that an agent may take to end after its cancellation; then it is left behind and
            reported.
        runs: Who owns what goes on; the orchestrator itself if it is left out.
    """

    def __init__(
        self,
        *,
        max_concurrency: int = MAX_CONCURRENCY,
        timeout: float | None = None,
        agent_timeout: float | None = None,
        stop_on_error: bool = False,
        grace: float = 5.0,
        runs: Runs | None = None,
    ) -> None:
        self._limits = Limits(timeout, agent_timeout, grace)
        self._stop_on_error = stop_on_error
        self._max_concurrency = max_concurrency
        self._runs = runs or Runs()

    async def execute(
        self,
        task: Any,
        adapter: CommunicationAdapter,
        *,
        agents: Sequence[str] | None = None,
        context: Mapping[str, Any] | None = None,
        run_id: str | None = None,
    ) -> OrchestrationResult:
        """Give the task to all agents at once; arguments and errors as in `SequentialOrchestrator.execute`.

        Returns:
            A result whose `output` has the outputs by name. It is no success if one agent did not complete.
        """
        plan = ParallelPlan(
            agents=chosen(adapter, agents),
            stop_on_error=self._stop_on_error,
            max_concurrency=self._max_concurrency,
        )
        return await execute(plan, task, adapter, self._limits, self._runs, context=context, run_id=run_id)
