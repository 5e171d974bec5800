"""One agent after the other: each gets what the one before it returned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from aos.orchestration.adapters import CommunicationAdapter, chosen
from aos.orchestration.execute import execute
from aos.orchestration.limits import Limits
from aos.orchestration.plan import NO_OUTPUT, Call, skipped
from aos.orchestration.result import Mode, OrchestrationResult, StepRecord
from aos.orchestration.run import Runs


class SequentialPlan:
    """Calls the agents in order."""

    mode: ClassVar[Mode] = "sequential"
    __slots__ = ("_agents", "_next", "_previous", "_records", "_stop_on_error", "halted")

    def __init__(self, *, agents: Sequence[str], stop_on_error: bool) -> None:
        self.halted = ""
        self._agents = agents
        self._next = 0
        self._previous: Any = NO_OUTPUT
        self._records: list[StepRecord] = []
        self._stop_on_error = stop_on_error

    def options(self) -> dict[str, Any]:
        """What makes the same plan anew."""
        return {"agents": self._agents, "stop_on_error": self._stop_on_error}

    def next(self) -> Call | None:
        """The agent after the one that has just ended."""
        position = self._next
        if position > len(self._records) or position == len(self._agents):
            return None
        self._next = position + 1
        return Call(self._agents[position], self._previous)

    def ended(self, record: StepRecord) -> None:
        """Hand its output to the next agent; an agent that failed has none, so the one before it stands."""
        self._records.append(record)
        if record.status == "completed":
            self._previous = record.output
        elif self._stop_on_error:
            self.halted = f"{record.agent!r} {record.status} before it"

    def records(self, why: str) -> list[StepRecord]:
        """One record per agent, in order."""
        rest = self._agents[len(self._records) :]
        return [*self._records, *(skipped(agent, why) for agent in rest)] if rest else self._records

    def output(self) -> Any:
        """What the last agent returned; None if it did not complete."""
        return self._records[-1].output if len(self._records) == len(self._agents) else None


class SequentialOrchestrator:
    """Runs agents one after the other; each gets what the one before it returned.

    Args:
        timeout: Seconds for the whole orchestration; None is without limit.
        agent_timeout: Seconds for each agent; None is without limit.
        stop_on_error: Whether an agent that does not complete ends the orchestration. Otherwise the next
            agent gets the output of the last one that completed.
        grace: Seconds that an agent may take to end after its cancellation; then it is left behind and
            reported.
        runs: Who owns what goes on; the orchestrator itself if it is left out.

    Example:
        result = await SequentialOrchestrator(agent_timeout=60).execute("write a parser", adapter)
        assert result.success and result.steps_completed == 2
    """

    def __init__(
        self,
        *,
        timeout: float | None = None,
        agent_timeout: float | None = None,
        stop_on_error: bool = True,
        grace: float = 5.0,
        runs: Runs | None = None,
    ) -> None:
        self._limits = Limits(timeout, agent_timeout, grace)
        self._stop_on_error = stop_on_error
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
        """Give the task to the adapter's agents, one after the other.

        Args:
            task: What is to be done; each agent gets it.
            adapter: How the agents are reached.
            agents: Which of the adapter's agents take part, in this order; None is all, as they were
                registered.
            context: What else the agents are told.
            run_id: With a durable adapter: which run this is. The same id after a restart goes on with that
                run.

        Raises:
            OrchestrationError: There is no agent, or a run_id and an adapter that keeps nothing.
            UnknownAgent: One of `agents` is not registered.
        """
        plan = SequentialPlan(agents=chosen(adapter, agents), stop_on_error=self._stop_on_error)
        return await execute(plan, task, adapter, self._limits, self._runs, context=context, run_id=run_id)
