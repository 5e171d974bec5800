"""Carrying a plan out the way its adapter allows: durably, or in this process."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from typing import Any

from aos.orchestration.adapters import CommunicationAdapter, DurableAdapter
from aos.orchestration.errors import OrchestrationError
from aos.orchestration.limits import Limits
from aos.orchestration.plan import Plan
from aos.orchestration.result import OrchestrationResult
from aos.orchestration.run import Run, Runs


async def execute(
    plan: Plan,
    task: Any,
    adapter: CommunicationAdapter,
    limits: Limits,
    runs: Runs,
    *,
    context: Mapping[str, Any] | None = None,
    run_id: str | None = None,
) -> OrchestrationResult:
    """Carry a plan out.

    Raises:
        OrchestrationError: There is a `run_id`, and the adapter keeps nothing that could be found under it.
    """
    if isinstance(adapter, DurableAdapter):
        return await adapter.carry_out(plan, task, limits, context=context, run_id=run_id)
    if run_id is not None:
        raise OrchestrationError(
            f"run_id={run_id!r} needs an adapter that is durable: "
            f"a {type(adapter).__name__} keeps nothing, use BusAdapter"
        )

    def call(agent: str, previous: Any) -> Coroutine[Any, Any, Any]:
        return adapter.call(agent, task, previous, context=context)

    return await Run(plan, call, limits, runs).result()
