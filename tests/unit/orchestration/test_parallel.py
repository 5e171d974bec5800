"""All agents at once."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aos.orchestration import DirectAdapter, OrchestrationError, ParallelOrchestrator, SequentialOrchestrator


def _adapter_of(**agents):
    adapter = DirectAdapter()
    for name, agent in agents.items():
        adapter.register_agent(name, agent)
    return adapter


def _takes(seconds, output="done"):
    async def agent(_):
        await asyncio.sleep(seconds)
        return output

    return agent


async def _fails(_):
    raise ValueError("no good")


async def _stubborn(_):
    end = asyncio.get_running_loop().time() + 500
    while (left := end - asyncio.get_running_loop().time()) > 0:
        try:
            await asyncio.sleep(left)
        except asyncio.CancelledError:
            continue


async def test_agents_run_at_the_same_time():
    """Three agents of a second each take a second."""
    result = await ParallelOrchestrator().execute("task", _adapter_of(a=_takes(1), b=_takes(1), c=_takes(1)))
    assert result.duration == 1.0


async def test_each_agent_gets_the_task_alone():
    """No agent gets the output of another."""
    adapter = _adapter_of(a=str.upper, b=str.title)
    assert (await ParallelOrchestrator().execute("a task", adapter)).output == {"a": "A TASK", "b": "A Task"}


async def test_records_are_in_the_order_of_registration():
    """Who ends first does not come first."""
    result = await ParallelOrchestrator().execute("task", _adapter_of(slow=_takes(2), fast=_takes(1)))
    assert [step.agent for step in result.steps] == list(result.output) == ["slow", "fast"]


async def test_one_that_fails_leaves_the_others_alone():
    """Partial failure is visible: some completed, one failed, and it is no success."""
    result = await ParallelOrchestrator().execute("task", _adapter_of(a=_takes(1), b=_fails, c=_takes(2)))
    assert [step.status for step in result.steps] == ["completed", "failed", "completed"]
    assert result.output == {"a": "done", "c": "done"}
    assert (result.success, result.steps_completed) == (False, 2)


async def test_one_that_fails_ends_the_others_if_that_is_asked_for():
    """With `stop_on_error` a failure cancels who runs and skips who waits."""
    adapter = _adapter_of(a=_takes(9), b=_fails, c=_takes(9))
    result = await ParallelOrchestrator(stop_on_error=True, max_concurrency=2).execute("task", adapter)
    assert [step.status for step in result.steps] == ["cancelled", "failed", "skipped"]
    assert {step.error for step in result.steps if step.agent != "b"} == {"'b' failed"}
    assert result.duration == 0.0


async def test_no_more_than_the_limit_run_at_once():
    """Who is over the limit waits for somebody to end."""
    running = most = 0

    async def agent(_):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(1)
        running -= 1

    adapter = _adapter_of(**{f"a{i}": agent for i in range(10)})
    result = await ParallelOrchestrator(max_concurrency=4).execute("task", adapter)
    assert (most, result.duration) == (4, 3.0)


async def test_waiting_for_a_place_does_not_count_as_time_of_the_agent():
    """The time-out of an agent begins when it starts."""
    adapter = _adapter_of(a=_takes(1), b=_takes(1), c=_takes(1))
    assert (await ParallelOrchestrator(max_concurrency=1, agent_timeout=1.5).execute("task", adapter)).success


@pytest.mark.parametrize("limit", [0, -1])
async def test_a_limit_below_one_is_refused(limit):
    """Nothing would ever run."""
    with pytest.raises(OrchestrationError, match="1 or more"):
        await ParallelOrchestrator(max_concurrency=limit).execute("task", _adapter_of(a=_fails))


KINDS = {
    "ok": _takes(0),
    "slow": _takes(3),
    "late": _takes(99),
    "fails": _fails,
    "sync": str.upper,
    "stubborn": _stubborn,
}


@pytest.mark.parametrize("mode", [SequentialOrchestrator, ParallelOrchestrator])
@given(
    kinds=st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=8),
    stop_on_error=st.booleans(),
    timeout=st.none() | st.sampled_from([2.0, 10.0, 20.0]),
)
async def test_every_agent_is_accounted_for_once(mode, kinds, stop_on_error, timeout):
    """Whatever agents do: one record each, in order; it ends in time; success is exactly that all completed."""
    adapter = _adapter_of(**{f"{kind}{i}": KINDS[kind] for i, kind in enumerate(kinds)})
    limits = {"timeout": timeout, "agent_timeout": 5.0, "grace": 1.0}
    result = await mode(stop_on_error=stop_on_error, **limits).execute("task", adapter)
    assert tuple(step.agent for step in result.steps) == adapter.agents
    done = [step for step in result.steps if step.status == "completed"]
    assert result.steps_completed == len(done)
    assert result.success == (len(done) == len(kinds))
    assert result.duration <= (timeout or 6.0 * len(kinds)) + 1.0
    for step in result.steps:
        assert (step.status == "completed") == (not step.error)
        assert step.stopped or step.agent.startswith("stubborn")
        if step.agent.startswith("stubborn"):
            assert step.status in ("timed out", "cancelled", "skipped")
    await asyncio.sleep(600)
