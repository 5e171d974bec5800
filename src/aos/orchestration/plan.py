"""A plan decides which agent is called next, and with what. It calls nobody and knows no clock.

Each mode of orchestration is one plan. `Run` carries a plan out in this process, `BusAdapter` carries the
same plan out durably.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, ClassVar, Final, NamedTuple, Protocol

from aos.orchestration.result import Mode, StepRecord


class NoOutput(Enum):
    """The type of `NO_OUTPUT`."""

    NO_OUTPUT = "NO_OUTPUT"

    def __repr__(self) -> str:
        return "NO_OUTPUT"


NO_OUTPUT: Final = NoOutput.NO_OUTPUT
"""Stands for the step before the first one; a step that returned None has an output, which is None."""


class Call(NamedTuple):
    """An agent that is to be called now, and what the step before it returned."""

    agent: str
    previous: Any


class Plan(Protocol):
    """The decisions of one orchestration. An object serves one run."""

    mode: ClassVar[Mode]
    halted: str
    """Why no further agent may be called and those that run are to be cancelled; empty while all is well."""

    def options(self) -> dict[str, Any]:
        """The keyword arguments that make the same plan anew; JSON data."""

    def next(self) -> Call | None:
        """The next call to start now; None while there is nothing to start before a call has ended."""

    def ended(self, record: StepRecord) -> None:
        """A call has ended."""

    def records(self, why: str) -> list[StepRecord]:
        """All records in the order of the plan; who was never called is skipped because of `why`."""

    def output(self) -> Any:
        """The output of the orchestration as it stands."""


def skipped(agent: str, why: str) -> StepRecord:
    """The record of an agent that was never called."""
    return StepRecord(agent, "skipped", error=why)
