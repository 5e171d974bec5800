"""Orchestrations that outlive the process.

An orchestration is itself an agent, one for each run. Its handler carries the plan out with recorded operations: it
asks hosted agents, and calls objects of this process in steps. Killed in the middle, it runs again from the top, gets
what was recorded, and so continues at the step that it was in.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar

import msgspec

from aos.agents.agent import Agent
from aos.agents.context import Context
from aos.agents.declare import on
from aos.clock import now
from aos.codec import encode_payload, encode_state
from aos.errors import AskCycle, AskFailed, AskTimeout, InvalidPayload
from aos.orchestration.adapters import DirectAdapter
from aos.orchestration.entry import task_event
from aos.orchestration.handoff import HandOffPlan
from aos.orchestration.limits import Limits, out_of_time, too_late
from aos.orchestration.parallel import ParallelPlan
from aos.orchestration.plan import Call, Plan, skipped
from aos.orchestration.result import Mode, OrchestrationResult, StepRecord, is_simulated
from aos.orchestration.run import Run, Runs
from aos.orchestration.sequential import SequentialPlan

_FORGET = "orchestration.forget"
_PLANS: dict[Mode, Callable[..., Plan]] = {
    "sequential": SequentialPlan,
    "parallel": ParallelPlan,
    "handoff": HandOffPlan,
}


class Order(msgspec.Struct, frozen=True):
    """All that a run needs to know; its message carries it.

    Args:
        run_id: Which run it is.
        mode: Which plan.
        options: What the plan is made of.
        addresses: The agents' addresses by name; empty for an object of the process.
        task: What the agents are to do.
        context: What else they are told.
        limits: How long it may take.
        keep: Seconds that the result is kept; 0 for a run that nobody can ask for again.
    """

    run_id: str
    mode: Mode
    options: dict[str, Any]
    addresses: dict[str, str]
    task: Any
    context: dict[str, Any]
    limits: Limits
    keep: float

    def digest(self) -> str:
        """The same for two orders that mean the same work."""
        work = encode_payload([self.mode, self.options, self.task, self.context])
        return hashlib.blake2b(work, digest_size=16).hexdigest()


class Answer(msgspec.Struct, frozen=True):
    """What a run answers: a result, or why the order was refused."""

    result: OrchestrationResult | None = None
    refused: str = ""


class Kept(msgspec.Struct):
    """The state of a run: nothing while it goes on, then its result."""

    digest: str = ""
    result: OrchestrationResult | None = None


class Orchestration(Agent):
    """A run. It is asked to do its work, and asked again for the result.

    Args:
        objects: The agents that are objects of this process.
    """

    purpose = "Carry an orchestration out, once"
    key = "run_id"
    State = Kept
    timeout = None  # the order has the limits
    state_limit: ClassVar[int] = 16 * 1024 * 1024

    def __init__(self, objects: DirectAdapter) -> None:
        self._objects = objects
        self._runs = Runs()

    @on()
    async def carry_out(self, order: Order, ctx: Context) -> Answer:
        """Carry the order out, or give the result of the same order."""
        kept: Kept = ctx.state
        if kept.result is not None:
            if kept.digest == order.digest():
                return Answer(kept.result)
            return Answer(refused=f"run_id={order.run_id!r} belongs to another task or plan: take a new one")
        begun = ctx.now
        plan = _PLANS[order.mode](**order.options)
        steps = _Steps(order, ctx, self._objects, self._runs)
        try:
            await _drive(plan, steps.take)
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors
        duration = (ctx.now - begun).total_seconds()
        result = OrchestrationResult.of(plan.mode, plan.records(plan.halted), plan.output(), duration)
        if order.keep:
            ctx.state = Kept(order.digest(), result)
            await ctx.schedule("forget", topic=_FORGET, after=order.keep)
        return Answer(result)

    @on(_FORGET)
    async def forget(self, _: Any, ctx: Context) -> None:
        """Let go of a result that was kept long enough."""
        ctx.state = Kept()


async def _drive(plan: Plan, take: Callable[[Call], Coroutine[Any, Any, StepRecord]]) -> None:
    """Carry a plan out. What ended is told in the order of the starts, so that it goes the same way again."""
    running: deque[asyncio.Task[StepRecord]] = deque()
    async with asyncio.TaskGroup() as group:
        while True:
            while not plan.halted and (call := plan.next()) is not None:
                running.append(group.create_task(take(call), name=call.agent))
            if not running:
                return
            plan.ended(await running.popleft())


class _Steps:
    """The steps of a run, each recorded."""

    def __init__(self, order: Order, ctx: Context, objects: DirectAdapter, runs: Runs) -> None:
        self._order = order
        self._ctx = ctx
        self._objects = objects
        self._runs = runs
        self._begun = ctx.now.timestamp()

    async def take(self, call: Call) -> StepRecord:
        """Take a step, or give its record if it was taken before."""
        total = self._order.limits.timeout
        left = None
        if total is not None:
            # Recorded, so that the same agents are skipped when the run goes on after a crash.
            left = self._begun + total - await self._ctx.step("time", now)
            if left <= 0:
                return skipped(call.agent, out_of_time(total))
        address = self._order.addresses[call.agent]
        event = task_event(self._order.task, call.previous, self._order.context)
        if address:
            return await self._ask(call.agent, address, event, left)

        async def attempt(_: dict[str, Any]) -> StepRecord:
            return await self._attempt(call, left)

        record: StepRecord = await self._ctx.step(f"agent {call.agent}", attempt, event, returns=StepRecord)
        return record

    async def _ask(self, agent: str, address: str, event: dict[str, Any], left: float | None) -> StepRecord:
        ctx, limits = self._ctx, self._order.limits
        seconds = min((s for s in (left, limits.agent_timeout) if s is not None), default=None)
        started = ctx.now
        try:
            output = await ctx.ask(address, event, timeout=seconds)
        except AskTimeout:
            if seconds == limits.agent_timeout:
                error = too_late(limits.agent_timeout or 0.0)
            else:
                error = out_of_time(limits.timeout or 0.0)
            took = (ctx.now - started).total_seconds()
            return StepRecord(agent, "timed out", error=error, duration=took, stopped=False)
        except (AskFailed, AskCycle) as failed:
            took, kind = (ctx.now - started).total_seconds(), type(failed).__name__
            return StepRecord(agent, "failed", error=str(failed), error_type=kind, duration=took)
        took = (ctx.now - started).total_seconds()
        return StepRecord(agent, "completed", output, duration=took, simulated=is_simulated(output))

    async def _attempt(self, call: Call, left: float | None) -> StepRecord:
        """Call an object of this process; whatever comes of it is a record, which can be kept."""
        order = self._order

        def enter(agent: str, _: Any) -> Coroutine[Any, Any, Any]:
            return self._objects.call(agent, order.task, call.previous, context=order.context)

        limits = Limits(left, order.limits.agent_timeout, order.limits.grace)
        alone = SequentialPlan(agents=(call.agent,), stop_on_error=True)
        (record,) = (await Run(alone, enter, limits, self._runs).result()).steps
        if left is not None and order.limits.timeout is not None:
            error = record.error.replace(out_of_time(left), out_of_time(order.limits.timeout))
            record = msgspec.structs.replace(record, error=error)
        try:
            encode_state(record)
        except InvalidPayload as error:
            text = f"its output cannot be recorded: {error}"
            return StepRecord(call.agent, "failed", error=text, error_type="InvalidPayload", duration=record.duration)
        return record
