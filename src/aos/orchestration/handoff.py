"""Agents that name who goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from aos.orchestration.adapters import CommunicationAdapter, chosen
from aos.orchestration.errors import OrchestrationError
from aos.orchestration.execute import execute
from aos.orchestration.limits import Limits
from aos.orchestration.plan import NO_OUTPUT, Call, skipped
from aos.orchestration.result import Mode, OrchestrationResult, StepRecord
from aos.orchestration.run import Runs

MAX_CALLS = 16
"""How many calls a hand-off may take if nothing else is said."""


class HandOff(msgspec.Struct, frozen=True, rename={"to": "handoff"}):
    """Says who goes on, as an agent's output; the mapping `{"handoff": to, "output": output}` says the same.

    Args:
        to: The name of the next agent.
        output: What the next agent gets as the output of the step before it.
    """

    to: str
    output: Any = None


class HandOffPlan:
    """Calls the first agent, then whom each names, until one names nobody."""

    mode: ClassVar[Mode] = "handoff"
    __slots__ = ("_agents", "_busy", "_max_calls", "_next", "_records", "halted")

    def __init__(self, *, agents: Sequence[str], max_calls: int) -> None:
        if max_calls < 1:
            raise OrchestrationError(f"max_calls is how many calls the hand-off may take, 1 or more, not {max_calls!r}")
        self.halted = ""
        self._agents = agents
        self._max_calls = max_calls
        self._next: Call | None = Call(agents[0], NO_OUTPUT)
        self._busy = False
        self._records: list[StepRecord] = []

    def options(self) -> dict[str, Any]:
        """What makes the same plan anew."""
        return {"agents": self._agents, "max_calls": self._max_calls}

    def next(self) -> Call | None:
        """The agent that was named."""
        if self._busy or self._next is None:
            return None
        call, self._next, self._busy = self._next, None, True
        return call

    def ended(self, record: StepRecord) -> None:
        """Note whom it names, and refuse a name that is not known and a hand-off too many."""
        self._busy = False
        self._records.append(record)
        hand_off = hand_off_of(record.output)
        if record.status != "completed" or hand_off is None:
            return
        if hand_off.to not in self._agents:
            known = ", ".join(self._agents)
            error = f"{record.agent!r} handed off to {hand_off.to!r}, which is not registered (known: {known})"
            self._records.append(StepRecord(hand_off.to, "failed", error=error, error_type="UnknownAgent"))
        elif len(self._records) == self._max_calls:
            path = " -> ".join([step.agent for step in self._records][-6:])
            error = f"{self._max_calls} calls were made (… {path}): raise max_calls if that many are meant"
            self._records.append(skipped(hand_off.to, error))
        else:
            self._next = Call(hand_off.to, hand_off.output)

    def records(self, why: str) -> list[StepRecord]:
        """One record per call, in order, and one for the agent that was named and not called."""
        return self._records if self._next is None else [*self._records, skipped(self._next.agent, why)]

    def output(self) -> Any:
        """What the agent that named nobody returned."""
        return None if self._next is not None or not self._records else self._records[-1].output


class HandOffOrchestrator:
    """Runs the first agent, then the one that it names (`HandOff`), and so on until one names nobody.

    An agent that fails, and a name that nobody has, end it.

    Args:
        max_calls: How many calls it may take; agents may hand back and forth as long.
        timeout: Seconds for the whole orchestration; None is without limit.
        agent_timeout: Seconds for each call; None is without limit.
        grace: Seconds that an agent may take to end after its cancellation; then it is left behind and
            reported.
        runs: Who owns what goes on; the orchestrator itself if it is left out.
    """

    def __init__(
        self,
        *,
        max_calls: int = MAX_CALLS,
        timeout: float | None = None,
        agent_timeout: float | None = None,
        grace: float = 5.0,
        runs: Runs | None = None,
    ) -> None:
        self._limits = Limits(timeout, agent_timeout, grace)
        self._max_calls = max_calls
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
        """Give the task to the first agent; arguments and errors as in `SequentialOrchestrator.execute`.

        Returns:
            A result with one record per call; its `output` is what the last agent returned.
        """
        plan = HandOffPlan(agents=chosen(adapter, agents), max_calls=self._max_calls)
        return await execute(plan, task, adapter, self._limits, self._runs, context=context, run_id=run_id)


def hand_off_of(output: Any) -> HandOff | None:
    """Whom an agent's output names to go on, None if it names nobody.

    In a mapping the next agent gets what is under "output"; without that, the mapping without its "handoff".
    """
    if isinstance(output, HandOff):
        return output
    if not isinstance(output, Mapping) or not output.get("handoff"):
        return None
    if "output" in output:
        return HandOff(str(output["handoff"]), output["output"])
    return HandOff(str(output["handoff"]), {name: value for name, value in output.items() if name != "handoff"})
