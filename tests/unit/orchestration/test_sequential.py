"""One agent after the other."""

import asyncio
from unittest.mock import AsyncMock

import pytest

from aos.errors import UnknownAgent
from aos.orchestration import DirectAdapter, OrchestrationError, SequentialOrchestrator


def _adapter_of(**agents):
    adapter = DirectAdapter()
    for name, agent in agents.items():
        adapter.register_agent(name, agent)
    return adapter


def _fails(_):
    raise ValueError("no good")


async def test_each_agent_gets_the_output_of_the_one_before():
    """Outputs walk through the agents in the order in which they were registered."""
    adapter = _adapter_of(
        first=lambda task: f"{task} 1", second=lambda text: f"{text} 2", third=lambda text: f"{text} 3"
    )
    result = await SequentialOrchestrator().execute("task", adapter)
    assert result.output == "task 1 2 3"
    assert [step.agent for step in result.steps] == ["first", "second", "third"]
    assert result.steps_completed == 3


async def test_agents_run_one_at_a_time():
    """An agent starts when the one before it has ended."""
    running = []

    async def agent(_):
        running.append("start")
        await asyncio.sleep(1)
        running.append("end")

    await SequentialOrchestrator().execute("task", _adapter_of(a=agent, b=agent))
    assert running == ["start", "end", "start", "end"]


async def test_none_is_an_output():
    """An agent that returns None has completed."""
    result = await SequentialOrchestrator().execute("task", _adapter_of(a=AsyncMock(return_value=None)))
    assert result.success
    assert result.output is None


async def test_a_failure_ends_the_orchestration():
    """After a failure nobody else is called, and every agent is accounted for."""
    last = AsyncMock(spec=["handle_event"])
    result = await SequentialOrchestrator().execute("task", _adapter_of(a=str.upper, b=_fails, c=last))
    assert [step.status for step in result.steps] == ["completed", "failed", "skipped"]
    assert not result.success
    last.handle_event.assert_not_called()


async def test_a_failure_is_recorded_with_its_error():
    """The record of a failure has the error, its class and where it came from."""
    (step,) = (await SequentialOrchestrator().execute("task", _adapter_of(a=_fails))).steps
    assert (step.error, step.error_type, step.output) == ("no good", "ValueError", None)
    assert 'raise ValueError("no good")' in step.traceback


async def test_an_error_without_a_text_is_named():
    """An error that says nothing is recorded by its class."""

    async def agent(_):
        raise KeyboardInterrupt if False else LookupError

    (step,) = (await SequentialOrchestrator().execute("task", _adapter_of(a=agent))).steps
    assert step.error == "LookupError"


async def test_who_was_skipped_says_why():
    """The record of an agent that was never called names the one that failed."""
    result = await SequentialOrchestrator().execute("task", _adapter_of(a=_fails, b=str.upper))
    assert result.steps[1].error == "'a' failed before it"


async def test_a_failed_orchestration_has_no_output():
    """The output of a step in the middle is not presented as the result."""
    result = await SequentialOrchestrator().execute("task", _adapter_of(a=str.upper, b=_fails))
    assert result.output is None


async def test_the_others_go_on_if_that_is_asked_for():
    """With `stop_on_error=False` the next agent gets the last output that there is; it is still no success."""
    adapter = _adapter_of(a=str.upper, b=_fails, c=lambda text: f"{text}!")
    result = await SequentialOrchestrator(stop_on_error=False).execute("task", adapter)
    assert result.output == "TASK!"
    assert (result.success, result.steps_completed) == (False, 2)


async def test_agents_can_be_chosen():
    """`agents` says who takes part, and in which order."""
    adapter = _adapter_of(a=lambda text: f"{text}a", b=lambda text: f"{text}b", c=lambda text: f"{text}c")
    result = await SequentialOrchestrator().execute("", adapter, agents=["c", "a"])
    assert result.output == "ca"


async def test_no_agent_is_an_error():
    """Without an agent there is no success, but an error that says what to do."""
    with pytest.raises(OrchestrationError, match="register_agent"):
        await SequentialOrchestrator().execute("task", DirectAdapter())
    with pytest.raises(OrchestrationError, match="name one at least"):
        await SequentialOrchestrator().execute("task", _adapter_of(a=str.upper), agents=[])


async def test_an_unknown_agent_is_an_error():
    """Who is asked for and is not there is named, and nobody is called."""
    with pytest.raises(UnknownAgent, match="'b'"):
        await SequentialOrchestrator().execute("task", _adapter_of(a=str.upper), agents=["a", "b"])


async def test_an_agent_is_asked_for_once():
    """Records are told apart by name, so nobody takes part twice."""
    with pytest.raises(OrchestrationError, match="twice"):
        await SequentialOrchestrator().execute("task", _adapter_of(a=str.upper), agents=["a", "a"])


async def test_a_run_id_needs_an_adapter_that_keeps_it():
    """A run id that could not be found again is refused."""
    with pytest.raises(OrchestrationError, match="BusAdapter"):
        await SequentialOrchestrator().execute("task", _adapter_of(a=str.upper), run_id="nightly")


async def test_durations_are_those_of_the_loop():
    """Durations are measured by the clock of the loop."""

    async def agent(_):
        await asyncio.sleep(1.5)

    result = await SequentialOrchestrator().execute("task", _adapter_of(a=agent, b=agent))
    assert [step.duration for step in result.steps] == [1.5, 1.5]
    assert result.duration == 3.0


@pytest.mark.parametrize("output", [{"simulated": True}, type("Reply", (), {"simulated": True})()])
async def test_what_is_simulated_is_marked(output):
    """An output that says that a fake made it marks its record and the result."""
    result = await SequentialOrchestrator().execute("task", _adapter_of(a=lambda _: output, b=lambda _: "real"))
    assert result.simulated
    assert [step.simulated for step in result.steps] == [True, False]


async def test_what_is_not_simulated_is_not_marked():
    """A result is not marked unless an output says so, whatever a mock answers to."""
    result = await SequentialOrchestrator().execute("task", _adapter_of(a=AsyncMock()))
    assert not result.simulated


async def test_one_orchestrator_runs_many_tasks_at_once():
    """Runs of one orchestrator do not meet."""

    async def agent(text):
        await asyncio.sleep(1)
        return f"{text}!"

    orchestrator, adapter = SequentialOrchestrator(), _adapter_of(a=agent, b=agent)
    results = await asyncio.gather(*(orchestrator.execute(str(i), adapter) for i in range(10)))
    assert [result.output for result in results] == [f"{i}!!" for i in range(10)]


async def test_a_thousand_agents_that_never_wait_need_no_stack():
    """A long sequence is a loop, not a recursion."""
    adapter = _adapter_of(**{f"a{i}": (lambda n: n + 1) for i in range(1000)})
    assert (await SequentialOrchestrator().execute(0, adapter)).output == 1000
