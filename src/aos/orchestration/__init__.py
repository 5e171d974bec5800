"""Orchestration: agents that work on one task together, in sequence, in parallel or by hand-off."""

from aos.orchestration.adapters import CommunicationAdapter, DirectAdapter, DurableAdapter
from aos.orchestration.bus import BusAdapter
from aos.orchestration.coordinate import AgentOrchestrator
from aos.orchestration.errors import OrchestrationError
from aos.orchestration.handoff import HandOff, HandOffOrchestrator
from aos.orchestration.parallel import ParallelOrchestrator
from aos.orchestration.plan import NO_OUTPUT
from aos.orchestration.result import OrchestrationResult, StepRecord
from aos.orchestration.sequential import SequentialOrchestrator

__all__ = [
    "NO_OUTPUT",
    "AgentOrchestrator",
    "BusAdapter",
    "CommunicationAdapter",
    "DirectAdapter",
    "DurableAdapter",
    "HandOff",
    "HandOffOrchestrator",
    "OrchestrationError",
    "OrchestrationResult",
    "ParallelOrchestrator",
    "SequentialOrchestrator",
    "StepRecord",
]
