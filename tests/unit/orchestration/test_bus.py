"""Durable orchestrations, on the memory store."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aos.agents import Agent, AgentOS, Context, GenericPurposeDrivenAgent, on
from aos.errors import InvalidAgent, UnknownAgent
from aos.orchestration import (
    BusAdapter,
    HandOff,
    HandOffOrchestrator,
    OrchestrationError,
    ParallelOrchestrator,
    SequentialOrchestrator,
)
from aos.resilience import RetryPolicy
from aos.stores.memory import Memory, MemoryStore


class Writer(Agent):
    @on()
    async def write(self, event: dict):
        return f"draft of {event['task']} for {event['context'].get('reader', 'all')}"


class Editor(Agent):
    key = "language"

    @on()
    async def edit(self, event: dict, ctx: Context):
        return f"{event['previous']} in {ctx.key}"


class Failing(Agent):
    retry = RetryPolicy(attempts=1)

    @on()
    async def fail(self, event: dict):
        raise ValueError("no good")


class Slow(Agent):
    @on()
    async def work(self, event: dict, ctx: Context):
        await ctx.sleep(100)
        return "done"


class Counting:
    """An object of the process that counts its calls."""

    def __init__(self, output="counted", seconds=0.0):
        self.calls = []
        self.output = output
        self.seconds = seconds

    async def handle_event(self, event):
        self.calls.append(event)
        await asyncio.sleep(self.seconds)
        if isinstance(self.output, Exception):
            raise self.output
        return self.output


@pytest.fixture
async def system():
    """A running system with a few agents."""
    async with AgentOS(agents=[Writer, Editor, Failing, Slow]) as running:
        yield running


def _bus(system, **agents):
    adapter = BusAdapter(system)
    for name, agent in agents.items():
        adapter.register_agent(name, agent)
    return adapter


async def test_hosted_agents_and_objects_work_together(system):
    """Addresses, classes, keyed agents and objects of the process are steps of one orchestration."""
    adapter = _bus(system, writer=Writer, translator="Editor/fr")
    adapter.register_agent("editor", Editor, key="de")
    adapter.register_agent("shout", str.upper)
    result = await SequentialOrchestrator().execute("tea", adapter, context={"reader": "ada"})
    assert result.output == "DRAFT OF TEA FOR ADA IN FR IN DE"
    assert (result.success, result.steps_completed, result.mode) == (True, 4, "sequential")


async def test_an_agent_that_the_system_hosts_is_asked_and_not_called(system):
    """A ready-made agent that is hosted has its turn, so that its context is kept."""
    agent = GenericPurposeDrivenAgent(agent_id="generic", purpose="Testing")
    await system.register(agent)
    assert await SequentialOrchestrator().execute("tea", _bus(system, agent=agent))
    assert (await system.inspect("generic")).turns == 1


async def test_the_same_run_id_is_the_same_run(system):
    """Asked for again under its id, a run gives its result and calls nobody."""
    agent = Counting()
    adapter = _bus(system, agent=agent)
    first = await SequentialOrchestrator().execute("tea", adapter, run_id="nightly")
    assert await SequentialOrchestrator().execute("tea", adapter, run_id="nightly") == first
    assert len(agent.calls) == 1


async def test_two_who_ask_at_once_for_one_run_share_it(system):
    """Whoever asks for a run under way waits for it."""
    agent = Counting(seconds=5)
    adapter = _bus(system, agent=agent)
    orchestrator = SequentialOrchestrator()
    runs = (orchestrator.execute("tea", adapter, run_id="nightly") for _ in range(2))
    assert [result.output for result in await asyncio.gather(*runs)] == ["counted", "counted"]
    assert len(agent.calls) == 1


async def test_a_run_id_belongs_to_one_task(system):
    """Another task, plan or context under the same id is refused, and nobody is called."""
    agent = Counting()
    adapter = _bus(system, agent=agent)
    await SequentialOrchestrator().execute("tea", adapter, run_id="nightly")
    with pytest.raises(OrchestrationError, match="'nightly' belongs to another task or plan"):
        await SequentialOrchestrator().execute("coffee", adapter, run_id="nightly")
    with pytest.raises(OrchestrationError, match="another task or plan"):
        await ParallelOrchestrator().execute("tea", adapter, run_id="nightly")
    assert len(agent.calls) == 1


async def test_runs_without_an_id_are_different_runs(system):
    """Without a run id, every call is a new run, of which no result is kept."""
    agent = Counting()
    adapter = _bus(system, agent=agent)
    for _ in range(2):
        await SequentialOrchestrator().execute("tea", adapter)
    assert len(agent.calls) == 2
    kept = [record.state["result"] for record in await system.agents(kind="Orchestration")]
    assert kept == [None, None]


async def test_a_result_is_forgotten_in_the_end(system):
    """After `keep` seconds the result of a run with an id is let go, so that the store does not grow for ever."""
    agent = Counting()
    adapter = BusAdapter(system, keep=50)
    adapter.register_agent("agent", agent)
    await SequentialOrchestrator().execute("tea", adapter, run_id="nightly")
    await asyncio.sleep(60)
    await system.settle()
    assert (await system.inspect("Orchestration/nightly")).state["result"] is None
    await SequentialOrchestrator().execute("coffee", adapter, run_id="nightly")
    assert len(agent.calls) == 2


async def test_a_hosted_agent_that_fails_is_a_failed_step(system):
    """The error of a hosted agent is in its record; the run itself goes on and ends."""
    adapter = _bus(system, failing=Failing, writer=Writer)
    result = await SequentialOrchestrator().execute("tea", adapter)
    assert [step.status for step in result.steps] == ["failed", "skipped"]
    assert "ValueError: no good" in result.error


async def test_an_object_that_fails_is_recorded_once(system):
    """A failed step is recorded like one that completed, and not tried again behind the orchestration's back."""
    agent = Counting(output=OSError("gone"))
    adapter = _bus(system, agent=agent, writer=Writer)
    result = await SequentialOrchestrator(stop_on_error=False).execute("tea", adapter)
    assert [step.status for step in result.steps] == ["failed", "completed"]
    assert (result.steps[0].error, result.steps[0].error_type, len(agent.calls)) == ("gone", "OSError", 1)
    assert "raise self.output" in result.steps[0].traceback


async def test_an_output_that_cannot_be_kept_is_a_failed_step(system):
    """What has no form that outlives the process is refused, by step."""
    result = await SequentialOrchestrator().execute("tea", _bus(system, agent=Counting(output=object())))
    assert result.steps[0].error_type == "InvalidPayload"
    assert "cannot be recorded" in result.error


async def test_hosted_agents_hand_off(system):
    """Both ways of naming the next agent survive the way through the store."""

    class Triage(Agent):
        @on()
        async def triage(self, event: dict):
            return HandOff("second", 1)

    await system.register(Triage)
    second = Counting(output={"handoff": "third", "output": 2})
    adapter = _bus(system, first=Triage, third=lambda n: n + 1, second=second)
    result = await HandOffOrchestrator().execute("tea", adapter)
    assert [step.agent for step in result.steps] == ["first", "second", "third"]
    assert (second.calls[0]["previous"], result.output) == (1, 3)


async def test_agents_run_in_parallel(system):
    """In parallel mode the steps of a durable run overlap."""
    adapter = _bus(system, a=Counting(seconds=5), b=Counting(seconds=5), c=Writer)
    result = await ParallelOrchestrator().execute("tea", adapter)
    assert list(result.output) == ["a", "b", "c"]
    assert result.duration == pytest.approx(5.0, abs=0.5)


async def test_no_more_than_the_limit_run_at_once(system):
    """The concurrency limit holds for durable runs too."""
    adapter = _bus(system, **{f"a{i}": Counting(seconds=5) for i in range(4)})
    result = await ParallelOrchestrator(max_concurrency=2).execute("tea", adapter)
    assert result.duration == pytest.approx(10.0, abs=0.5)


async def test_after_a_failure_nobody_else_is_started(system):
    """With `stop_on_error` those that run are let end, and those that wait are skipped."""
    adapter = _bus(system, a=Failing, b=Counting(seconds=5), c=Writer)
    result = await ParallelOrchestrator(stop_on_error=True, max_concurrency=2).execute("tea", adapter)
    assert [step.status for step in result.steps] == ["failed", "completed", "skipped"]


async def test_a_hosted_agent_that_is_late_is_waited_for_no_longer(system):
    """A time-out ends the waiting, and the record says that the agent goes on."""
    result = await SequentialOrchestrator(agent_timeout=5).execute("tea", _bus(system, slow=Slow))
    (step,) = result.steps
    assert (step.status, step.stopped) == ("timed out", False)
    assert step.error == "no answer within its time-out of 5 s"
    assert result.duration == pytest.approx(5.0, abs=0.5)


async def test_an_object_that_is_late_is_cancelled(system):
    """A time-out cancels an object of the process."""
    result = await SequentialOrchestrator(agent_timeout=5).execute("tea", _bus(system, a=Counting(seconds=99)))
    assert (result.steps[0].status, result.steps[0].stopped) == ("timed out", True)


@pytest.mark.parametrize("mode", [SequentialOrchestrator, ParallelOrchestrator])
async def test_the_whole_run_has_a_time_out(system, mode):
    """When the total time is up, who runs is late and nobody else is started."""
    options = {} if mode is SequentialOrchestrator else {"max_concurrency": 1}
    adapter = _bus(system, a=Counting(seconds=4), b=Slow, c=Writer)
    result = await mode(timeout=6, stop_on_error=False, **options).execute("tea", adapter)
    assert [step.status for step in result.steps] == ["completed", "timed out", "skipped"]
    assert {step.error for step in result.steps[1:]} == {"the orchestration's time-out of 6 s passed"}
    assert result.duration == pytest.approx(6.0, abs=0.5)


async def test_a_run_that_leaves_memory_goes_on_where_it_was():
    """A run that waits long hibernates; when the answer is there its finished steps are not run again."""
    async with AgentOS(agents=[Slow], park_for=1.0) as system:
        first, last = Counting(output=1), Counting(output=2)
        adapter = _bus(system, first=first, slow=Slow, last=last)
        result = await SequentialOrchestrator().execute("tea", adapter)
    assert [step.output for step in result.steps] == [1, "done", 2]
    assert (len(first.calls), len(last.calls)) == (1, 1)
    assert result.steps[1].duration == pytest.approx(100.0, abs=1.0)


@pytest.mark.parametrize("seconds", [0.5, 1.5, 2.5, 50.0, 104.0])
async def test_a_run_goes_on_after_a_restart(seconds):
    """Wherever the system stops, a new one goes on by itself; only the step that was under way is run again."""
    memory = Memory()
    agents = [Counting(output=i, seconds=1) for i in range(5)]

    def bus(system):
        names = {f"a{i}": agent for i, agent in enumerate(agents)}
        return _bus(system, **{"a0": names.pop("a0"), "a1": names.pop("a1"), "slow": Slow, **names})

    async with AgentOS(MemoryStore(shared=memory), agents=[Slow], stop_deadline=0.0) as system:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(seconds):
                await SequentialOrchestrator().execute("tea", bus(system), run_id="nightly")
    async with AgentOS(MemoryStore(shared=memory), agents=[Slow]) as system:
        await bus(system).initialize()
        await asyncio.sleep(200)
        record = await system.inspect("Orchestration/nightly")
        assert record.state["result"]["steps_completed"] == 6
    assert sum(len(agent.calls) for agent in agents) <= len(agents) + 1


@pytest.mark.parametrize("stop_on_error", [False, True])
async def test_a_parallel_run_goes_on_after_a_restart(stop_on_error):
    """A parallel run with agents that wait for a place comes out the same, whatever ended before the restart."""
    memory = Memory()
    takes = {"a": 9, "b": 1, "c": 2, "d": 30, "e": 1}

    def bus(system):
        return _bus(system, **{name: Counting(output=name, seconds=takes[name]) for name in takes})

    orchestrator = ParallelOrchestrator(max_concurrency=2, timeout=200, stop_on_error=stop_on_error)
    for seconds in (0.5, 1.5, 5, 10, 13, 20):
        async with AgentOS(MemoryStore(shared=memory), stop_deadline=0.0) as system:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(seconds):
                    await orchestrator.execute("tea", bus(system), run_id="nightly")
    async with AgentOS(MemoryStore(shared=memory)) as system:
        result = await orchestrator.execute("tea", bus(system), run_id="nightly")
    assert result.output == {name: name for name in takes}


async def test_an_unknown_address_is_an_error(system):
    """An agent that the store does not know is named before anything is begun."""
    with pytest.raises(UnknownAgent, match="'Ghost/7'"):
        await SequentialOrchestrator().execute("tea", _bus(system, writer=Writer, ghost="Ghost/7"))
    assert await system.agents() == []


async def test_two_adapters_of_a_system_need_two_names(system):
    """Runs of two adapters are told apart by name."""
    await _bus(system, writer=Writer).initialize()
    with pytest.raises(InvalidAgent, match="'Orchestration' is registered already"):
        await _bus(system, writer=Writer).initialize()
    other = BusAdapter(system, name="Nightly")
    other.register_agent("writer", Writer)
    assert await SequentialOrchestrator().execute("tea", other)


async def test_names_are_given_once(system):
    """A second agent of the same name is refused, as is a name or run id that is empty."""
    adapter = _bus(system, writer=Writer)
    with pytest.raises(OrchestrationError, match="'writer' is registered already"):
        adapter.register_agent("writer", "Editor/de")
    with pytest.raises(OrchestrationError, match="cannot be empty"):
        adapter.register_agent("", Writer)
    with pytest.raises(OrchestrationError, match="not empty"):
        await SequentialOrchestrator().execute("tea", adapter, run_id="")
    with pytest.raises(OrchestrationError, match="keep"):
        BusAdapter(system, keep=0)


async def test_one_agent_can_be_called_alone(system):
    """`call` asks a hosted agent, calls an object, and knows no others."""
    adapter = _bus(system, writer=Writer, shout=str.upper)
    assert await adapter.call("writer", "tea") == "draft of tea for all"
    assert await adapter.call("shout", "tea", "coffee") == "COFFEE"
    with pytest.raises(UnknownAgent, match="'ghost'"):
        await adapter.call("ghost", "tea")


async def test_many_runs_begin_at_once(system):
    """The first runs of an adapter may come together."""
    adapter = _bus(system, writer=Writer)
    results = await asyncio.gather(*(SequentialOrchestrator().execute(i, adapter) for i in range(20)))
    assert [result.output for result in results] == [f"draft of {i} for all" for i in range(20)]


class Sleeper(Agent):
    key = "seconds"
    retry = RetryPolicy(attempts=1)

    @on()
    async def work(self, event: dict, ctx: Context):
        seconds, _, fails = ctx.key.partition(" ")
        await ctx.sleep(float(seconds))
        if fails:
            raise ValueError("no good")
        return seconds


_STEPS = st.tuples(st.sampled_from(["object", "hosted"]), st.integers(0, 9), st.booleans())


@given(
    parallel=st.booleans(),
    stop_on_error=st.booleans(),
    limit=st.integers(1, 3),
    timeout=st.none() | st.sampled_from([5.0, 20.0]),
    steps=st.lists(_STEPS, min_size=1, max_size=6),
    restarts=st.lists(st.floats(0.1, 12.0), max_size=5),
)
async def test_whatever_happens_and_whenever_it_restarts_a_run_ends(
    *,
    parallel,
    stop_on_error,
    limit,
    timeout,
    steps,
    restarts,
):
    """Any mix of agents and restarts ends with one record per agent and no dead letter of the run's own.

    An object is called once more at most for each restart, and never again when it has ended.
    """
    memory, ended = Memory(), []
    calls = dict.fromkeys(range(len(steps)), 0)

    def make(index, seconds, fails):
        async def agent(_):
            assert index not in ended
            calls[index] += 1
            await asyncio.sleep(seconds)
            ended.append(index)
            if fails:
                raise ValueError("no good")
            return seconds

        return agent

    def bus(system):
        agents = {}
        for index, (kind, seconds, fails) in enumerate(steps):
            address = f"Sleeper/{seconds} {'fails' if fails else ''}"
            agents[f"a{index}"] = make(index, seconds, fails) if kind == "object" else address
        return _bus(system, **agents)

    options = {"timeout": timeout, "stop_on_error": stop_on_error}
    mode = ParallelOrchestrator(max_concurrency=limit, **options) if parallel else SequentialOrchestrator(**options)
    for seconds in restarts:
        async with AgentOS(MemoryStore(shared=memory), agents=[Sleeper], stop_deadline=0.0) as system:
            try:
                async with asyncio.timeout(seconds):
                    await mode.execute("tea", bus(system), run_id="nightly")
            except TimeoutError:
                continue
    async with AgentOS(MemoryStore(shared=memory), agents=[Sleeper], park_for=2.0) as system:
        result = await mode.execute("tea", bus(system), run_id="nightly")
        assert not [letter for letter in await system.store.dead_letters() if "Orch" in letter.address]
    assert [step.agent for step in result.steps] == [f"a{index}" for index in range(len(steps))]
    assert all(count <= 1 + len(restarts) for count in calls.values())
    for step, (_, _, fails) in zip(result.steps, steps, strict=True):
        assert step.status == ("failed" if fails else "completed") or step.status in ("skipped", "timed out")
        assert step.status in ("completed", "failed") or stop_on_error or timeout
