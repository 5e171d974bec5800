"""Carrying a plan out in this process.

Agents are called in tasks of their own, which end in time and never outlive their owner unseen.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable, Coroutine
from typing import Any

from aos.orchestration.limits import Limits, out_of_time, too_late
from aos.orchestration.plan import Call, Plan
from aos.orchestration.result import OrchestrationResult, Status, StepRecord, is_simulated

log = logging.getLogger("aos.orchestration")


class Runs:
    """The runs of one owner: those that go on, and those that left an agent behind."""

    def __init__(self) -> None:
        self._runs: set[Run] = set()

    def add(self, run: Run) -> None:
        """Own a run."""
        self._runs.add(run)

    def discard(self, run: Run) -> None:
        """Forget a run that has nothing going on."""
        self._runs.discard(run)

    async def close(self, *, grace: float) -> None:
        """Cancel all that runs, and wait until it has ended, for `grace` seconds at most."""
        strays = {task for run in self._runs for task in run.strays}
        for task in strays:
            task.cancel()
        for run in tuple(self._runs):
            run.stop("cancelled", "the orchestrator was cleaned up")
        tasks = strays.union(*(run.calls for run in self._runs)) - {asyncio.current_task()}
        if tasks:
            await asyncio.wait(tasks, timeout=grace)


class _Live:
    """A call that goes on."""

    __slots__ = ("agent", "begun", "cut", "previous", "reason", "started", "timer")

    def __init__(self, call: Call) -> None:
        self.agent, self.previous = call
        self.begun = False
        self.started = 0.0
        self.timer: asyncio.TimerHandle | None = None
        self.cut: Status | None = None
        self.reason = ""


class Run:
    """One orchestration in this process.

    Agents are called in tasks, so that a time-out, a `stop` or a cancellation of `result` can cancel them and
    wait until they have ended. One that ignores its cancellation for the grace period is left behind, logged,
    and reported in its record. The caller is woken once, at the end.

    Args:
        plan: What is to be done.
        call: Calls an agent, by name, with the output of the step before.
        limits: How long it may take.
        runs: Who owns what this run leaves behind.
    """

    def __init__(
        self, plan: Plan, call: Callable[[str, Any], Coroutine[Any, Any, Any]], limits: Limits, runs: Runs
    ) -> None:
        self._plan = plan
        self._call = call
        self._limits = limits
        self._runs = runs
        self._loop = asyncio.get_running_loop()
        self._idle: asyncio.Future[None] = self._loop.create_future()
        self._live: dict[asyncio.Task[StepRecord | None], _Live] = {}
        self._strays: set[asyncio.Task[StepRecord | None]] = set()
        self._reason = ""
        self._broken: BaseException | None = None

    @property
    def calls(self) -> set[asyncio.Task[StepRecord | None]]:
        """The tasks of the calls that go on."""
        return set(self._live)

    @property
    def strays(self) -> set[asyncio.Task[StepRecord | None]]:
        """The tasks that were left behind and have not ended."""
        return set(self._strays)

    async def result(self) -> OrchestrationResult:
        """Carry the plan out, once.

        Raises:
            asyncio.CancelledError: The caller was cancelled; the agents were cancelled before this is raised.
        """
        started = self._loop.time()
        seconds = self._limits.timeout
        timer = None if seconds is None else self._loop.call_later(seconds, self._time_up, seconds)
        self._runs.add(self)
        try:
            self._advance(self._next())
            await self._idle
        except asyncio.CancelledError:
            self.stop("cancelled", "the caller was cancelled")
            await self._ended_all()
            raise
        finally:
            if timer is not None:
                timer.cancel()
            if not self._strays:
                self._runs.discard(self)
        if self._broken is not None:
            raise self._broken
        steps = self._plan.records(self._reason)
        duration = self._loop.time() - started
        return OrchestrationResult.of(self._plan.mode, steps, self._plan.output(), duration)

    def stop(self, status: Status, reason: str) -> None:
        """Call no further agent, and cancel those that run; their records get this status and reason."""
        if not self._reason:
            self._reason = reason
        for task, live in tuple(self._live.items()):
            self._cut(task, live, status, reason)

    async def _ended_all(self) -> None:
        """Wait until nothing runs, however often the caller is cancelled: the grace periods bound it."""
        while self._live:
            self._idle = self._loop.create_future()
            try:
                await self._idle
            except asyncio.CancelledError:
                continue

    # -- starting and working

    def _next(self, record: StepRecord | None = None) -> Call | None:
        """Tell the plan what ended, and ask it for the next call."""
        plan = self._plan
        try:
            if record is not None:
                plan.ended(record)
            if plan.halted:
                self.stop("cancelled", plan.halted)
            return None if self._reason else plan.next()
        except Exception as error:  # noqa: BLE001 - nobody would see it in a callback; `result` raises it
            self._break(error, f"the plan failed: {_text_of(error)}")
            return None

    def _advance(self, call: Call | None) -> None:
        """Start this call and all that the plan allows beside it; wake the caller if nothing runs."""
        while call is not None:
            live = _Live(call)
            task = self._loop.create_task(self._work(live), name=call.agent)
            if not live.begun:  # an eager task has begun by now
                self._begin(task, live)
            task.add_done_callback(self._ended)
            call = self._next()
        if not self._live and not self._idle.done():
            self._idle.set_result(None)

    def _begin(self, task: asyncio.Task[StepRecord | None], live: _Live) -> None:
        self._live[task] = live
        live.begun = True
        live.started = self._loop.time()
        seconds = self._limits.agent_timeout
        if seconds is not None:
            live.timer = self._loop.call_later(seconds, self._cut, task, live, "timed out", too_late(seconds))

    async def _work(self, live: _Live) -> StepRecord | None:
        """Call an agent, and as long as nothing else runs the next one after it.

        Only ordinary completions are seen to here. All else ends the task and is seen to in `_ended`, so that
        the next agent gets a task that knows nothing of a cancellation.

        Returns:
            A record that is still to be reported, of an agent that completed although it was cancelled.
        """
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in a task
        if not live.begun:
            self._begin(task, live)
        while True:
            output = await self._call(live.agent, live.previous)
            record = self._record(live, "completed", output=output)
            if live.cut is not None or task.cancelling():
                return record
            del self._live[task]
            call = self._next(record)
            if call is None or self._live:
                self._advance(call)
                return None
            live = _Live(call)
            self._begin(task, live)
            self._advance(self._next())

    # -- ending

    def _time_up(self, seconds: float) -> None:
        self.stop("timed out", out_of_time(seconds))

    def _break(self, error: BaseException, reason: str) -> None:
        self._broken = self._broken or error
        self.stop("cancelled", reason)

    def _cut(self, task: asyncio.Task[StepRecord | None], live: _Live, status: Status, reason: str) -> None:
        """Cancel a call that goes on, and give it the grace period to end."""
        if live.cut is not None or task.done():
            return
        live.cut = status
        live.reason = reason
        if live.timer is not None:
            live.timer.cancel()
        live.timer = self._loop.call_later(self._limits.grace, self._give_up, task, live)
        task.cancel()

    def _give_up(self, task: asyncio.Task[StepRecord | None], live: _Live) -> None:
        if task.done():
            return
        del self._live[task]
        self._strays.add(task)
        text = f"it ignored its cancellation for {self._limits.grace:g} s and may still be running"
        log.warning("agent %r was cancelled (%s); %s", live.agent, live.reason, text)
        status = live.cut or "cancelled"
        record = self._record(live, status, error=f"{live.reason}; {text}", stopped=False)
        self._advance(self._next(record))

    def _ended(self, task: asyncio.Task[StepRecord | None]) -> None:
        """A task has ended; if its call is still live, it did not complete in the ordinary way."""
        error = None if task.cancelled() else task.exception()
        if task in self._strays:
            self._stray_ended(task, error)
        live = self._live.pop(task, None)
        if live is None:
            return
        if error is not None and not isinstance(error, Exception):
            # Not an agent's failure: pytest's outcomes, an interrupt, the end of the interpreter.
            self._break(error, f"{live.agent!r} raised {_text_of(error)}")
        record: StepRecord | None
        if live.cut is not None:
            late = f"; while it was being cancelled it raised {_text_of(error)}" if error is not None else ""
            record = self._record(live, live.cut, error=live.reason + late, raised=error)
        elif task.cancelled():
            record = self._record(live, "cancelled", error="cancelled by itself or from outside the orchestration")
        elif error is not None:
            record = self._record(live, "failed", error=str(error) or type(error).__qualname__, raised=error)
        else:
            record = task.result()
        self._advance(self._next(record))

    def _record(
        self,
        live: _Live,
        status: Status,
        *,
        output: Any = None,
        error: str = "",
        raised: BaseException | None = None,
        stopped: bool = True,
    ) -> StepRecord:
        if live.timer is not None:
            live.timer.cancel()
        duration = self._loop.time() - live.started
        kind, where = "", ""
        if raised is not None:
            kind, where = type(raised).__qualname__, "".join(traceback.format_exception(raised))
        simulated = is_simulated(output)
        return StepRecord(live.agent, status, output, error, kind, where, duration, simulated, stopped)

    def _stray_ended(self, task: asyncio.Task[StepRecord | None], error: BaseException | None) -> None:
        self._strays.discard(task)
        if error is not None:
            log.warning("agent %r, which had been left behind, ended with %s", task.get_name(), _text_of(error))
        if not self._strays and self._idle.done():
            self._runs.discard(self)


def _text_of(error: BaseException) -> str:
    return f"{type(error).__qualname__}: {error}"
