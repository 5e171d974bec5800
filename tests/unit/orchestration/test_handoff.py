"""Agents that name who goes on."""

from unittest.mock import AsyncMock

import pytest

from aos.orchestration import DirectAdapter, HandOff, HandOffOrchestrator, OrchestrationError


def _adapter_of(**agents):
    adapter = DirectAdapter()
    for name, agent in agents.items():
        adapter.register_agent(name, agent)
    return adapter


async def test_the_agent_that_is_named_goes_on():
    """The first agent is called, then whom it names, and nobody else."""
    other = AsyncMock(spec=["handle_event"])
    adapter = _adapter_of(
        triage=lambda _: HandOff("billing", "a bill"), sales=other, billing=lambda text: f"paid {text}"
    )
    result = await HandOffOrchestrator().execute("task", adapter)
    assert [step.agent for step in result.steps] == ["triage", "billing"]
    assert (result.success, result.output) == (True, "paid a bill")
    other.handle_event.assert_not_called()


async def test_a_mapping_names_the_next_agent_too():
    """`{"handoff": name, "output": output}` is a hand-off without an import."""
    adapter = _adapter_of(a=lambda _: {"handoff": "b", "output": 1}, b=lambda n: n + 1)
    assert (await HandOffOrchestrator().execute("task", adapter)).output == 2


async def test_what_else_is_in_the_mapping_is_handed_on():
    """Without an "output" the next agent gets the rest of the mapping."""
    adapter = _adapter_of(a=lambda _: {"handoff": "b", "bill": 7}, b=lambda found: found)
    assert (await HandOffOrchestrator().execute("task", adapter)).output == {"bill": 7}


async def test_who_is_called_first_can_be_chosen():
    """`agents` says who takes part; the first of them begins."""
    adapter = _adapter_of(a=lambda _: "a", b=lambda _: "b")
    assert (await HandOffOrchestrator().execute("task", adapter, agents=["b", "a"])).output == "b"


async def test_an_agent_may_be_called_again():
    """Handing back is no error; there is a record for each call."""
    turns = iter([HandOff("b"), "end"])
    adapter = _adapter_of(a=lambda _: next(turns), b=lambda _: HandOff("a"))
    result = await HandOffOrchestrator().execute("task", adapter)
    assert [step.agent for step in result.steps] == ["a", "b", "a"]
    assert result.success


async def test_an_unknown_name_is_a_failure_that_says_who_named_it():
    """Handing off to nobody fails the orchestration and says whom it could have been."""
    result = await HandOffOrchestrator().execute("task", _adapter_of(a=lambda _: HandOff("ghost")))
    assert not result.success
    assert result.error == "ghost failed: 'a' handed off to 'ghost', which is not registered (known: a)"
    assert result.output is None


async def test_a_circle_ends_at_the_limit():
    """Agents that hand to each other for ever are stopped, and the circle is shown."""
    adapter = _adapter_of(a=lambda _: HandOff("b"), b=lambda _: HandOff("a"))
    result = await HandOffOrchestrator(max_calls=5).execute("task", adapter)
    assert (result.success, result.steps_completed, result.output) == (False, 5, None)
    assert "5 calls were made (… a -> b -> a -> b -> a)" in result.error


async def test_a_failure_ends_it():
    """An agent that fails names nobody."""

    def fails(_):
        raise ValueError("no good")

    result = await HandOffOrchestrator().execute("task", _adapter_of(a=lambda _: HandOff("b"), b=fails))
    assert result.error == "b failed: no good"


async def test_a_limit_below_one_is_refused():
    """Nothing would ever run."""
    with pytest.raises(OrchestrationError, match="1 or more"):
        await HandOffOrchestrator(max_calls=0).execute("task", _adapter_of(a=str.upper))
