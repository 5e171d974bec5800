"""Errors of orchestrations. What an agent does wrong is no error here: it is in the agent's `StepRecord`."""

from __future__ import annotations

from aos.errors import InvalidInput


class OrchestrationError(InvalidInput):
    """The orchestration cannot begin as it was asked for; no agent was called."""
