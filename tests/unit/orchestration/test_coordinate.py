"""`AgentOrchestrator` and the orchestration examples of the seed documents."""

import asyncio
from unittest.mock import AsyncMock

import pytest

from aos.errors import UnknownAgent
from aos.orchestration import (
    AgentOrchestrator,
    DirectAdapter,
    HandOff,
    OrchestrationError,
    SequentialOrchestrator,
)


class Agent:
    def __init__(self, agent_id, answer=None):
        self.agent_id = agent_id
        self.answer = answer

    async def handle_event(self, event):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer or f"{event['previous'] or event['task']} {self.agent_id}"


class Waiter(Agent):
    ended = False

    async def handle_event(self, event):
        try:
            await asyncio.Event().wait()
        finally:
            self.ended = True


async def _coordinate(*agents, **options):
    async with AgentOrchestrator() as orchestrator:
        for agent in agents:
            await orchestrator.register_agent(agent)
        return await orchestrator.coordinate_agents("task", **options)


async def test_the_example_of_the_seed():
    """Initialize, register two agents, coordinate, clean up."""
    orchestrator = AgentOrchestrator()
    await orchestrator.initialize()
    try:
        await orchestrator.register_agent(Agent("agent1"))
        await orchestrator.register_agent(Agent("agent2"))
        result = await orchestrator.coordinate_agents(task="test_task")
        assert result is not None
        assert result.steps_completed == 2
    finally:
        await orchestrator.cleanup()


async def test_the_example_with_mocks_of_the_seed():
    """A mocked generator and a mocked reviewer are both called once, and it is a success of two steps."""

    class CodeGeneratorAgent:
        async def generate_code(self, task): ...

    class CodeReviewerAgent:
        async def review_code(self, code): ...

    mock_generator = AsyncMock(spec=CodeGeneratorAgent)
    mock_generator.generate_code.return_value = "generated code"
    mock_reviewer = AsyncMock(spec=CodeReviewerAgent)
    mock_reviewer.review_code.return_value = 0.9

    adapter = DirectAdapter()
    adapter.register_agent("generator", mock_generator)
    adapter.register_agent("reviewer", mock_reviewer)
    result = await SequentialOrchestrator().execute("test task", adapter)

    assert result.success
    assert result.steps_completed == 2
    mock_generator.generate_code.assert_called_once_with("test task")
    mock_reviewer.review_code.assert_called_once_with("generated code")


async def test_sequential_is_the_usual_mode():
    """Each agent gets the output of the one before."""
    result = await _coordinate(Agent("a"), Agent("b"))
    assert (result.mode, result.output) == ("sequential", "task a b")


async def test_parallel_gives_every_agent_the_task():
    """In parallel mode partial failure leaves the others alone."""
    result = await _coordinate(Agent("a"), Agent("b", OSError("gone")), Agent("c"), mode="parallel")
    assert result.output == {"a": "task a", "c": "task c"}
    assert not result.success


async def test_an_agent_may_hand_off():
    """In hand-off mode the agents that were named are called."""
    result = await _coordinate(Agent("a", HandOff("c", "x")), Agent("b"), Agent("c"), mode="handoff")
    assert result.output == "x c"


async def test_an_unknown_mode_is_refused():
    """A mode that is not there is answered with those that are."""
    with pytest.raises(OrchestrationError, match="'sequential', 'parallel' or 'handoff', not 'swarm'"):
        await _coordinate(Agent("a"), mode="swarm")


async def test_stop_on_error_can_be_turned_round():
    """Each mode's own choice can be overruled."""
    failing = (Agent("a", OSError("gone")), Agent("b"))
    assert (await _coordinate(*failing, stop_on_error=False)).steps_completed == 1
    waiter = Waiter("c")
    result = await _coordinate(*failing, waiter, mode="parallel", stop_on_error=True)
    assert [step.status for step in result.steps] == ["failed", "completed", "cancelled"]


async def test_time_outs_reach_the_agents():
    """Both time-outs of `coordinate_agents` cancel."""
    for limit in ({"timeout": 3}, {"agent_timeout": 3}):
        waiter = Waiter("a")
        result = await _coordinate(waiter, **limit)
        assert (result.steps[0].status, waiter.ended, result.duration) == ("timed out", True, 3.0)


async def test_the_concurrency_limit_holds():
    """`max_concurrency` of the orchestrator bounds parallel mode."""

    class Slow(Agent):
        async def handle_event(self, event):
            await asyncio.sleep(1)

    async with AgentOrchestrator(max_concurrency=2) as orchestrator:
        for name in "abcd":
            await orchestrator.register_agent(Slow(name))
        assert (await orchestrator.coordinate_agents("task", mode="parallel")).duration == 2.0


@pytest.mark.parametrize("attribute", ["agent_id", "id", "name"])
async def test_an_agent_brings_its_id(attribute):
    """The id is the agent's `agent_id`, `id` or `name`."""
    agent = AsyncMock(spec=["handle_event", attribute])
    setattr(agent, attribute, "seven")
    orchestrator = AgentOrchestrator()
    await orchestrator.register_agent(agent)
    assert orchestrator.agents == ("seven",)


async def test_an_agent_without_an_id_is_refused():
    """The error says what to give it; a number or a mock is no id."""
    for agent in (AsyncMock(), Agent(7), Agent("")):
        with pytest.raises(OrchestrationError, match="give it an agent_id"):
            await AgentOrchestrator().register_agent(agent)


async def test_an_id_is_given_once():
    """A second agent of the same id is refused."""
    with pytest.raises(OrchestrationError, match="'a' is registered already"):
        await _coordinate(Agent("a"), Agent("a"))


async def test_an_agent_can_be_unregistered():
    """Who is unregistered takes no part, and cannot be unregistered again."""
    orchestrator = AgentOrchestrator()
    await orchestrator.register_agent(Agent("a"))
    await orchestrator.register_agent(Agent("b"))
    await orchestrator.unregister_agent("a")
    assert (await orchestrator.coordinate_agents("task")).output == "task b"
    with pytest.raises(UnknownAgent, match="'a'"):
        await orchestrator.unregister_agent("a")


async def test_no_agents_is_an_error():
    """Nothing registered is no success."""
    with pytest.raises(OrchestrationError, match="register_agent"):
        await _coordinate()


async def test_cleanup_ends_what_runs():
    """Cleanup cancels agents and waits for them; who waited for the result gets it, with the cancelled record."""
    orchestrator, waiter = AgentOrchestrator(), Waiter("a")
    await orchestrator.register_agent(waiter)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(orchestrator.coordinate_agents("task"))
        await asyncio.sleep(1)
        await orchestrator.cleanup()
        assert waiter.ended
    result = running.result()
    assert (result.steps[0].status, result.steps[0].error) == ("cancelled", "the orchestrator was cleaned up")


async def test_cleanup_does_not_wait_for_ever():
    """An agent that ignores its cancellation holds cleanup for the grace period and no longer."""
    go = asyncio.Event()

    class Stubborn(Agent):
        async def handle_event(self, event):
            while not go.is_set():
                try:
                    await go.wait()
                except asyncio.CancelledError:
                    continue

    orchestrator = AgentOrchestrator(grace=2)
    await orchestrator.register_agent(Stubborn("a"))
    async with asyncio.TaskGroup() as group:
        running = group.create_task(orchestrator.coordinate_agents("task"))
        await asyncio.sleep(1)
        await orchestrator.cleanup()
        assert asyncio.get_running_loop().time() == 3.0
    assert not running.result().steps[0].stopped
    go.set()
    await asyncio.sleep(0.1)


async def test_an_agent_may_clean_up_its_own_orchestrator():
    """An agent that cleans up the orchestrator that runs it does not wait for itself."""
    orchestrator = AgentOrchestrator()

    class Last(Agent):
        async def handle_event(self, event):
            await orchestrator.cleanup()
            await asyncio.Event().wait()

    await orchestrator.register_agent(Last("a"))
    result = await orchestrator.coordinate_agents("task")
    assert result.steps[0].status == "cancelled"


async def test_cleanup_twice_and_before_initialize_is_harmless():
    """Cleanup can be called at any time."""
    orchestrator = AgentOrchestrator()
    await orchestrator.cleanup()
    await orchestrator.initialize()
    await orchestrator.cleanup()
    await orchestrator.cleanup()


async def test_nothing_is_coordinated_after_cleanup():
    """After cleanup there is an error that says what to do, and `initialize` makes it usable again."""
    orchestrator = AgentOrchestrator()
    await orchestrator.register_agent(Agent("a"))
    await orchestrator.cleanup()
    with pytest.raises(OrchestrationError, match="initialize"):
        await orchestrator.coordinate_agents("task")
    await orchestrator.initialize()
    await orchestrator.register_agent(Agent("a"))
    assert await orchestrator.coordinate_agents("task")


async def test_the_orchestrator_leaves_the_agents_to_their_owner():
    """Agents are neither initialized nor cleaned up by the orchestrator."""
    agent = AsyncMock(spec=["handle_event", "initialize", "cleanup", "agent_id"])
    agent.agent_id = "a"
    await _coordinate(agent)
    agent.initialize.assert_not_called()
    agent.cleanup.assert_not_called()
