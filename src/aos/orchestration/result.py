"""What an orchestration did: one record per agent that was called or should have been, and the outcome."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from aos.codec import encode_payload, payload_decoder

Mode = Literal["sequential", "parallel", "handoff"]
Status = Literal["completed", "failed", "timed out", "cancelled", "skipped"]


class StepRecord(msgspec.Struct, frozen=True):
    """One agent's part in an orchestration.

    Args:
        agent: The name under which the agent was registered.
        status: How it ended; `skipped` was never started, and `error` says why.
        output: What the agent returned; None unless it completed.
        error: Why it did not complete, in one text; empty if it did.
        error_type: Class name of the error that the agent raised; empty if it raised none.
        traceback: Where the agent raised it; empty if it raised none.
        duration: Seconds from its start to its end, by the clock of the loop.
        simulated: The output says that a scripted model or a fake produced it.
        stopped: False if the agent ignored its cancellation for the whole grace period: it may still be
            running.
    """

    agent: str
    status: Status
    output: Any = None
    error: str = ""
    error_type: str = ""
    traceback: str = ""
    duration: float = 0.0
    simulated: bool = False
    stopped: bool = True


class OrchestrationResult(msgspec.Struct, frozen=True):
    """The outcome of an orchestration; true in a condition if it succeeded.

    Args:
        success: Every agent that had a part completed it.
        steps_completed: How many did.
        steps: One record per agent, in the order of the plan; in a hand-off one per call.
        output: Sequential and hand-off: what the last agent returned, None if it did not complete.
            Parallel: the outputs of those that completed, by name.
        mode: "sequential", "parallel" or "handoff".
        duration: Seconds, by the clock of the loop.
        simulated: A scripted model or a fake had a part in it.
    """

    success: bool
    steps_completed: int
    steps: tuple[StepRecord, ...]
    output: Any
    mode: Mode
    duration: float
    simulated: bool

    @classmethod
    def of(cls, mode: Mode, steps: list[StepRecord], output: Any, duration: float) -> OrchestrationResult:
        """The result that these records add up to."""
        completed = 0
        simulated = False
        for step in steps:
            completed += step.status == "completed"
            simulated = simulated or step.simulated
        return cls(completed == len(steps) > 0, completed, tuple(steps), output, mode, duration, simulated)

    def __bool__(self) -> bool:
        return self.success

    @property
    def error(self) -> str:
        """Why it did not succeed: the first agent that did not complete, and its error. Empty on success."""
        for step in self.steps:
            if step.status != "completed":
                return f"{step.agent} {step.status}: {step.error}"
        return ""

    def to_dict(self) -> dict[str, Any]:
        """The result as plain JSON data.

        Raises:
            InvalidPayload: An agent returned something that has no JSON form.
        """
        plain: dict[str, Any] = payload_decoder(Any)(encode_payload(self))
        return plain


def is_simulated(output: Any) -> bool:
    """Whether an agent's output says that a scripted model or a fake produced it."""
    if isinstance(output, dict):
        return output.get("simulated") is True
    return getattr(output, "simulated", False) is True
