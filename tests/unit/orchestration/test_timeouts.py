"""Time-outs and cancellations end agents, and wait until they have ended."""

import asyncio
import logging
import sys

import pytest

from aos.orchestration import DirectAdapter, OrchestrationError, ParallelOrchestrator, SequentialOrchestrator
from aos.orchestration.limits import Limits
from aos.orchestration.parallel import ParallelPlan
from aos.orchestration.run import Run, Runs


def _adapter_of(**agents):
    adapter = DirectAdapter()
    for name, agent in agents.items():
        adapter.register_agent(name, agent)
    return adapter


class Patient:
    """Waits for ever; needs a while to clean up after its cancellation."""

    def __init__(self, *, cleanup: float = 0.0, fails: bool = False) -> None:
        self.cleanup = cleanup
        self.fails = fails
        self.ended = False

    async def handle_event(self, event):
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(self.cleanup)
            self.ended = True
            if self.fails:
                raise OSError("the socket was gone")


class Stubborn:
    """Ignores every cancellation until it is let go."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.cancelled = 0

    async def handle_event(self, event):
        while not self.go.is_set():
            try:
                await self.go.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
        return "at last"


@pytest.fixture
async def stubborn():
    """A stubborn agent, which is let go at the end of the test."""
    agent = Stubborn()
    yield agent
    agent.go.set()
    await asyncio.sleep(0.1)


async def test_an_agent_that_is_late_is_cancelled():
    """An agent's time-out cancels it, and its record says so."""
    agent = Patient()
    result = await SequentialOrchestrator(agent_timeout=2.5).execute("task", _adapter_of(a=agent, b=agent))
    assert [step.status for step in result.steps] == ["timed out", "skipped"]
    assert result.steps[0].error == "no answer within its time-out of 2.5 s"
    assert (agent.ended, result.duration) == (True, 2.5)


async def test_a_time_out_waits_for_the_agents_cleanup():
    """What an agent does after its cancellation is awaited before the orchestration ends."""
    agent = Patient(cleanup=3)
    result = await SequentialOrchestrator(agent_timeout=1, grace=5).execute("task", _adapter_of(a=agent))
    assert (agent.ended, result.duration) == (True, 4.0)
    assert result.steps[0].stopped


async def test_the_next_agent_knows_nothing_of_a_cancellation():
    """After an agent that was cancelled the next one runs undisturbed, if failures do not end the sequence."""

    async def agent(_):
        assert not asyncio.current_task().cancelling()
        await asyncio.sleep(1)
        return "done"

    orchestrator = SequentialOrchestrator(agent_timeout=2, stop_on_error=False)
    result = await orchestrator.execute("task", _adapter_of(a=Patient(), b=agent))
    assert [step.status for step in result.steps] == ["timed out", "completed"]


async def test_the_whole_orchestration_has_a_time_out():
    """The total time-out ends the agent that runs and skips those that did not begin."""
    agent = Patient()
    adapter = _adapter_of(a=lambda _: "done", b=agent, c=agent)
    result = await SequentialOrchestrator(timeout=4, agent_timeout=99).execute("task", adapter)
    assert [step.status for step in result.steps] == ["completed", "timed out", "skipped"]
    assert {step.error for step in result.steps[1:]} == {"the orchestration's time-out of 4 s passed"}
    assert (agent.ended, result.duration) == (True, 4.0)


async def test_the_time_out_of_a_parallel_orchestration_keeps_what_is_done():
    """At the total time-out those who completed stay completed."""
    adapter = _adapter_of(a=lambda _: "done", b=Patient(), c=Patient())
    result = await ParallelOrchestrator(timeout=4).execute("task", adapter)
    assert [step.status for step in result.steps] == ["completed", "timed out", "timed out"]
    assert result.output == {"a": "done"}


async def test_an_answer_after_the_time_out_does_not_count():
    """An agent that answers its cancellation with a result is late all the same."""

    async def agent(_):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "too late"

    (step,) = (await SequentialOrchestrator(agent_timeout=1).execute("task", _adapter_of(a=agent))).steps
    assert (step.status, step.output) == ("timed out", None)


async def test_what_fails_during_a_cancellation_is_told():
    """An error in an agent's cleanup is in its record."""
    agent = Patient(fails=True)
    (step,) = (await SequentialOrchestrator(agent_timeout=1).execute("task", _adapter_of(a=agent))).steps
    assert (step.status, step.error_type) == ("timed out", "OSError")
    assert "while it was being cancelled it raised OSError: the socket was gone" in step.error


async def test_an_agents_own_time_out_is_a_failure_like_any_other():
    """A TimeoutError that the agent raises is its failure, not the orchestration's time-out."""

    async def agent(_):
        async with asyncio.timeout(1):
            await asyncio.Event().wait()

    (step,) = (await SequentialOrchestrator(agent_timeout=9).execute("task", _adapter_of(a=agent))).steps
    assert (step.status, step.error_type) == ("failed", "TimeoutError")


async def test_an_agent_that_ignores_its_cancellation_is_left_behind(stubborn, caplog):
    """The orchestration ends after the grace period, and its record and the log say that the agent may still run."""
    adapter = _adapter_of(a=stubborn)
    result = await SequentialOrchestrator(agent_timeout=1, grace=2).execute("task", adapter)
    assert (result.duration, result.steps[0].status, result.steps[0].stopped) == (3.0, "timed out", False)
    assert "ignored its cancellation for 2 s and may still be running" in result.steps[0].error
    assert "agent 'a' was cancelled" in caplog.text


async def test_what_a_left_agent_raises_in_the_end_is_logged(caplog):
    """The late error of an agent that was left behind is not lost."""
    go = asyncio.Event()

    async def agent(_):
        try:
            await asyncio.Event().wait()
        finally:
            await go.wait()
            raise OSError("gone")

    with caplog.at_level(logging.WARNING):
        await SequentialOrchestrator(agent_timeout=1, grace=0).execute("task", _adapter_of(a=agent))
        go.set()
        await asyncio.sleep(0.1)
    assert "agent 'a', which had been left behind, ended with OSError: gone" in caplog.text


async def test_the_cancellation_of_the_caller_reaches_the_agents():
    """Who cancels an orchestration cancels its agents, waits for their cleanup, and is not swallowed."""
    agents = [Patient(cleanup=2), Patient(cleanup=1)]
    adapter = _adapter_of(a=agents[0], b=agents[1])
    loop = asyncio.get_running_loop()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(3):
            await ParallelOrchestrator().execute("task", adapter)
    assert [agent.ended for agent in agents] == [True, True]
    assert loop.time() == pytest.approx(5.0)


async def test_a_cancellation_that_an_agent_swallows_reaches_the_caller():
    """The caller is cancelled even if the agent that ran turned its cancellation into a result."""

    async def agent(_):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "fine"

    other = Patient()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await SequentialOrchestrator().execute("task", _adapter_of(a=agent, b=other))
    assert not other.ended


async def test_a_stubborn_agent_does_not_hold_a_caller_who_is_cancelled(stubborn, caplog):
    """The caller is let go after the grace period, however often it is cancelled, and the log names the agent."""
    task = asyncio.create_task(SequentialOrchestrator(grace=5).execute("task", _adapter_of(a=stubborn)))
    for _ in range(3):
        await asyncio.sleep(1)
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asyncio.get_running_loop().time() == pytest.approx(6.0)
    assert "agent 'a'" in caplog.text


async def test_an_agent_that_cancels_itself_has_not_completed():
    """A cancellation that nobody asked for is recorded and does not spread."""

    async def agent(_):
        asyncio.current_task().cancel()
        await asyncio.Event().wait()

    orchestrator = SequentialOrchestrator(stop_on_error=False)
    result = await orchestrator.execute("task", _adapter_of(a=agent, b=lambda _: "done"))
    assert [step.status for step in result.steps] == ["cancelled", "completed"]
    assert "by itself or from outside" in result.steps[0].error


async def test_a_cancellation_left_behind_by_one_agent_does_not_hit_the_next():
    """An agent that cancels its own task ends with that; the next one starts in a task of its own."""

    async def careless(_):
        asyncio.current_task().cancel()
        return "done"

    async def next_agent(_):
        await asyncio.sleep(1)
        return "done too"

    orchestrator = SequentialOrchestrator(stop_on_error=False)
    result = await orchestrator.execute("task", _adapter_of(a=careless, b=next_agent))
    assert [step.status for step in result.steps] == ["cancelled", "completed"]


async def test_a_task_that_is_cancelled_before_it_began_is_accounted_for():
    """Cancelling an agent's task from outside before its first step hangs nothing."""
    task = asyncio.create_task(SequentialOrchestrator().execute("task", _adapter_of(a=Patient(), b=Patient())))
    await asyncio.sleep(0)
    (agent,) = (t for t in asyncio.all_tasks() if t.get_name() == "a")
    agent.cancel()
    assert [step.status for step in (await task).steps] == ["cancelled", "skipped"]


async def test_what_is_no_failure_of_an_agent_reaches_the_caller():
    """A `pytest.fail` inside an agent fails the test and not the step."""

    async def agent(_):
        pytest.fail("inside")

    other = Patient()
    with pytest.raises(pytest.fail.Exception, match="inside"):
        await ParallelOrchestrator().execute("task", _adapter_of(a=agent, b=other))
    assert other.ended


async def test_time_outs_that_are_no_time_are_refused():
    """A time-out is a number of seconds above 0."""
    for wrong in (0, -1, float("inf"), float("nan")):
        with pytest.raises(OrchestrationError, match="seconds above 0"):
            SequentialOrchestrator(timeout=wrong)
        with pytest.raises(OrchestrationError, match="seconds above 0"):
            ParallelOrchestrator(agent_timeout=wrong)
    with pytest.raises(OrchestrationError, match="grace"):
        SequentialOrchestrator(grace=-1)


@pytest.mark.parametrize("steps", range(1, 12))
@pytest.mark.parametrize("mode", [SequentialOrchestrator, ParallelOrchestrator])
async def test_a_cancellation_at_any_moment_leaves_nothing_behind(mode, steps):
    """Wherever the caller is cancelled, it ends cancelled (or had ended before), and so do the agents."""

    async def agent(_):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return "done"

    adapter = _adapter_of(a=agent, b=agent, c=agent)
    task = asyncio.create_task(mode(timeout=9, agent_timeout=9).execute("task", adapter))
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    done, _ = await asyncio.wait([task])
    assert done == {task}
    assert task.cancelled() or task.result().success
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_an_agent_in_its_cleanup_is_not_cancelled_twice():
    """An agent that is left behind may end its cleanup in peace."""
    ended = []

    async def agent(_):
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(10)
            ended.append("cleaned up")

    await SequentialOrchestrator(timeout=1, grace=2).execute("task", _adapter_of(a=agent, b=agent))
    await asyncio.sleep(20)
    assert ended == ["cleaned up"]


if sys.version_info >= (3, 12):  # eager tasks came with it

    @pytest.mark.parametrize("mode", [SequentialOrchestrator, ParallelOrchestrator])
    async def test_tasks_may_be_eager(mode):
        """With a loop that begins tasks at once, agents run and end as with any other."""

        async def waits(_):
            await asyncio.sleep(1)
            return "done"

        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        adapter = _adapter_of(a=str.upper, b=waits, c=Patient(), d=str.upper)
        result = await mode(agent_timeout=3, stop_on_error=False).execute("task", adapter)
        assert [step.status for step in result.steps] == ["completed", "completed", "timed out", "completed"]


async def test_a_plan_that_fails_ends_the_run():
    """An error in a plan is nobody's step: it reaches the caller, after the agents have ended."""

    class Broken(ParallelPlan):
        def ended(self, record):
            raise ZeroDivisionError

    async def short(_):
        await asyncio.sleep(1)

    agent = Patient()
    adapter = _adapter_of(a=short, b=agent)
    plan = Broken(agents=["a", "b"], stop_on_error=False, max_concurrency=2)
    run = Run(plan, lambda name, _: adapter.call(name, "task"), Limits(), Runs())
    with pytest.raises(ZeroDivisionError):
        await run.result()
    assert agent.ended


async def test_an_output_that_cannot_be_looked_at_is_a_failure():
    """An output whose attributes raise fails its step and hangs nothing."""

    class Odd:
        @property
        def simulated(self):
            raise LookupError("odd")

    result = await SequentialOrchestrator().execute("task", _adapter_of(a=lambda _: Odd()))
    assert result.steps[0].error_type == "LookupError"
