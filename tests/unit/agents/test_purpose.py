"""`GenericPurposeDrivenAgent`: alone, together, hosted."""

import asyncio
from typing import Any

import pytest

from aos import AgentOS, GenericPurposeDrivenAgent
from aos.errors import AskFailed, InvalidAgent, InvalidPayload
from tests.systems import same


class Learner(GenericPurposeDrivenAgent):
    """Remembers what it is told."""

    async def process_event(self, event: dict[str, Any]) -> Any:
        """Keep the event's word; one word is forbidden."""
        assert self.context_server is not None
        words = await self.context_server.get_context("words", [])
        await self.context_server.set_context("words", [*words, event["word"]])
        await asyncio.sleep(event.get("wait", 0))
        if event["word"] == "forbidden":
            raise PermissionError("not that word")
        return {"words": len(words) + 1}


async def test_it_works_alone():
    """As in the seed documents: initialize, handle_event, cleanup."""
    agent = GenericPurposeDrivenAgent(agent_id="test", purpose="Testing", adapter_name="test")
    await agent.initialize()
    assert agent.context_server is not None
    result = await agent.handle_event({"type": "test_event"})
    assert result is not None
    assert result["event_type"] == "test_event"
    assert await agent.context_server.get_history() == [{"type": "test_event"}]
    await agent.cleanup()


async def test_cleanup_is_harmless_whenever_it_comes():
    """Twice, before initialize, and inside `async with`."""
    agent = GenericPurposeDrivenAgent("a")
    await agent.cleanup()
    await agent.initialize()
    await agent.cleanup()
    await agent.cleanup()
    async with agent as same_agent:
        assert same_agent is agent
        await agent.cleanup()
    assert agent.context_server is None


async def test_cleanup_waits_for_the_event_under_way():
    """What has begun is done before the context is let go."""
    agent = Learner("a")
    handling = asyncio.get_running_loop().create_task(agent.handle_event({"word": "slow", "wait": 5}))
    await asyncio.sleep(1)
    await agent.cleanup()
    assert handling.done()
    assert await handling == {"words": 1}


@pytest.mark.parametrize("call", ["handle_event", "cleanup"])
async def test_an_agent_that_would_wait_for_itself_is_told(call):
    """handle_event or cleanup inside its own process_event is an error, not a hang."""

    async def inside(event: dict[str, Any]) -> Any:
        return await (agent.cleanup() if call == "cleanup" else agent.handle_event({}))

    agent = GenericPurposeDrivenAgent("a")
    agent.process_event = inside  # type: ignore[method-assign]
    with pytest.raises(InvalidAgent, match="wait for itself"):
        await agent.handle_event({})


async def test_several_work_at_the_same_time():
    """Five agents under gather take as long as one; one agent takes its events one at a time."""
    agents = [Learner(f"a{i}") for i in range(5)]
    await asyncio.gather(*(agent.handle_event({"word": "w", "wait": 10}) for agent in agents))
    assert asyncio.get_running_loop().time() == pytest.approx(10, abs=0.1)
    results = await asyncio.gather(*(agents[0].handle_event({"word": "w", "wait": 10}) for _ in range(3)))
    assert [result["words"] for result in results] == [2, 3, 4]
    assert asyncio.get_running_loop().time() == pytest.approx(40, abs=0.1)


async def test_process_event_can_be_assigned_and_its_errors_reach_the_caller():
    """A plain function or an async one will do; what it raises is raised."""
    agent = GenericPurposeDrivenAgent("a")
    agent.process_event = lambda event: {"got": event["x"]}  # type: ignore[method-assign,assignment,return-value]
    assert await agent.handle_event({"x": 5}) == {"got": 5}
    with pytest.raises(KeyError):
        await agent.handle_event({})


async def test_none_is_never_the_result():
    """A process_event that returns nothing gives a result that says what happened."""
    agent = GenericPurposeDrivenAgent("a")
    agent.process_event = lambda event: None  # type: ignore[method-assign,assignment,return-value]
    assert await agent.handle_event({"type": "t"}) == {"status": "processed", "agent_id": "a", "event_type": "t"}


@pytest.mark.parametrize("event", ["text", None, 5, [1]])
async def test_an_event_must_be_a_mapping(event):
    """Anything else is InvalidPayload, and nothing is done."""
    with pytest.raises(InvalidPayload, match="an event is a dict"):
        await GenericPurposeDrivenAgent("a").handle_event(event)


async def test_hosted_it_keeps_its_context(store):
    """Its context server is its durable state: a second system has it, history and all."""
    async with AgentOS(same(store), [Learner("learner")]) as system:
        assert await system.ask("learner", {"word": "one"}) == {"words": 1}
    async with AgentOS(same(store), [Learner("learner")]) as system:
        assert await system.ask("learner", {"word": "two"}) == {"words": 2}
        state = (await system.inspect("learner")).state
        assert state["context"] == {"words": ["one", "two"]}
        assert [event["word"] for event in state["history"]] == ["one", "two"]


async def test_hosted_a_failed_event_leaves_no_trace(store):
    """What process_event changed before it raised is not there afterwards."""
    agent = Learner("learner")
    async with AgentOS(store, [agent]) as system:
        await system.ask("learner", {"word": "one"})
        with pytest.raises(AskFailed, match="not that word"):
            await system.ask("learner", {"word": "forbidden"}, timeout=600)
        assert await system.ask("learner", {"word": "two"}) == {"words": 2}
        assert (await system.inspect("learner")).state["context"] == {"words": ["one", "two"]}


async def test_hosted_it_hears_topics(store):
    """`register(agent, topics=…)` lets it hear what is published."""
    async with AgentOS(store) as system:
        await system.register(Learner("learner"), topics=["words.>"])
        assert await system.publish("words.new", {"word": "heard"}) == 1
        await system.settle()
        assert (await system.inspect("learner")).state["context"] == {"words": ["heard"]}


async def test_an_agent_needs_an_id():
    """An empty one is refused, and so is one that cannot be an address when it is hosted."""
    with pytest.raises(InvalidAgent):
        GenericPurposeDrivenAgent("")
    with pytest.raises(InvalidAgent, match="cannot be an agent's name"):
        AgentOS(agents=[GenericPurposeDrivenAgent("a/b")])


async def test_an_object_that_only_looks_like_an_agent_is_refused_clearly():
    """What AgentOS cannot host is named, with what to give instead."""

    class Duck:
        agent_id = "duck"

        async def handle_event(self, event: Any) -> None: ...

    with pytest.raises(InvalidAgent, match="GenericPurposeDrivenAgent"):
        AgentOS(agents=[Duck()])  # type: ignore[list-item]
