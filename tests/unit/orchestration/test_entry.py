"""Which method of an agent is called, and with what."""

from types import SimpleNamespace
from unittest.mock import AsyncMock, MagicMock, Mock, create_autospec

import pytest

from aos.errors import UnknownAgent
from aos.orchestration import NO_OUTPUT, DirectAdapter, OrchestrationError


class Generator:
    async def generate_code(self, task):
        return f"code for {task}"


class Reviewer:
    async def review_code(self, code):
        return f"reviewed {code}"


class Listener:
    async def handle_event(self, event):
        return event


class GeneratorThatListens(Listener):
    async def generate_code(self, task):
        return f"code for {task}"


class ListenerThatGenerates(GeneratorThatListens):
    async def handle_event(self, event):
        return "handled"


class Both:
    async def handle_event(self, event):
        return "handled"

    async def generate_code(self, task):
        return "generated"


async def _call(agent, previous=NO_OUTPUT, context=None):
    adapter = DirectAdapter()
    adapter.register_agent("agent", agent)
    return await adapter.call("agent", "task", previous, context=context)


async def test_handle_event_gets_the_whole_event():
    """`handle_event` is told the task, the output of the step before and the context."""
    event = {"type": "task", "task": "task", "previous": "before", "context": {"user": "ada"}}
    assert await _call(Listener(), "before", {"user": "ada"}) == event


async def test_the_first_step_has_no_step_before_it():
    """In the first step the event's `previous` is None, and the context is there even if it is empty."""
    assert await _call(Listener()) == {"type": "task", "task": "task", "previous": None, "context": {}}


async def test_the_context_of_one_agent_is_not_that_of_the_next():
    """An agent that changes its context changes no other agent's."""
    context = {"user": "ada"}
    event = await _call(Listener(), context=context)
    event["context"]["user"] = "eve"
    assert context == {"user": "ada"}


async def test_generate_code_gets_the_task():
    """A generator is called with the task."""
    assert await _call(Generator()) == "code for task"
    assert await _call(Generator(), "before") == "code for task"


async def test_review_code_gets_the_step_before():
    """A reviewer is called with the output of the step before."""
    assert await _call(Reviewer(), "code") == "reviewed code"


async def test_review_code_gets_none_if_the_step_before_returned_none():
    """A reviewer is not given the task in place of code that was never written."""
    assert await _call(Reviewer(), None) == "reviewed None"


async def test_a_reviewer_that_comes_first_reviews_the_task():
    """Without a step before it, a reviewer reviews what it was asked to."""
    assert await _call(Reviewer()) == "reviewed task"


async def test_a_method_that_is_defined_closer_to_the_agent_counts():
    """What an agent defines itself goes before a general `handle_event` that it inherits, and the other way round."""
    assert await _call(GeneratorThatListens()) == "code for task"
    assert await _call(ListenerThatGenerates()) == "handled"


async def test_handle_event_goes_first_where_both_are_defined_together():
    """Of two methods of one class `handle_event` counts."""
    assert await _call(Both()) == "handled"


async def test_a_method_that_is_put_on_the_object_counts_first():
    """A method assigned to one object goes before those of its class."""
    agent = Both()
    agent.generate_code = AsyncMock(return_value="assigned")
    assert await _call(agent) == "assigned"


async def test_a_plain_function_is_an_agent():
    """A function, async or not, gets the step before, or the task if there was none."""

    async def shout(text):
        return text.upper()

    assert await _call(shout) == "TASK"
    assert await _call(str.title, "before that") == "Before That"


async def test_further_parameters_get_what_they_are_called_after():
    """`task`, `previous` and `context` are given to who asks for them by name."""

    def review(code, *, task, context):
        return code, task, context

    def join(task, previous=None):
        return task, previous

    assert await _call(review, "code", {"user": "ada"}) == ("code", "task", {"user": "ada"})
    assert await _call(join, "before") == ("task", "before")


async def test_a_generator_may_ask_for_the_step_before():
    """`generate_code(task, previous)` gets both."""

    class Fixer:
        async def generate_code(self, task, previous=None):
            return task, previous

    assert await _call(Fixer(), "review") == ("task", "review")


async def test_a_mock_with_a_spec_is_called_as_its_class_would_be():
    """A mock that stands for a generator is called by `generate_code`, also where it inherits `handle_event`."""
    for spec in (Generator, GeneratorThatListens):
        agent = AsyncMock(spec=spec)
        agent.generate_code.return_value = "generated code"
        assert await _call(agent) == "generated code"
        agent.generate_code.assert_called_once_with("task")


async def test_an_autospecced_mock_is_called_as_its_class_would_be():
    """`create_autospec` checks the arguments, and they are right."""
    agent = create_autospec(Reviewer, instance=True)
    agent.review_code.return_value = 0.9
    assert await _call(agent, "code") == 0.9
    agent.review_code.assert_called_once_with("code")


@pytest.mark.parametrize("kind", [AsyncMock, MagicMock, Mock])
async def test_a_bare_mock_is_called_by_the_method_that_was_set_up(kind):
    """A mock without a spec answers to every name; the one that its test prepared is called."""
    agent = kind()
    agent.generate_code.return_value = "generated code"
    assert await _call(agent) == "generated code"
    agent.generate_code.assert_called_once_with("task")


@pytest.mark.parametrize("options", [{"return_value": "x"}, {"return_value": None}, {"side_effect": ["x"]}])
async def test_a_mock_with_a_result_of_its_own_is_called(options):
    """A mock that was given a result for being called is called, and gives it."""
    agent = AsyncMock(**options)
    assert await _call(agent) == options.get("return_value", "x" if "side_effect" in options else None)
    agent.assert_called_once_with("task")


async def test_a_mock_that_nobody_set_up_is_called_by_handle_event():
    """A mock without a spec and without preparation gets the event."""
    agent = AsyncMock()
    await _call(agent)
    agent.handle_event.assert_called_once()


async def test_an_attribute_that_cannot_be_called_is_no_method():
    """`handle_event = None` takes the method away."""
    agent = SimpleNamespace(handle_event=None, review_code=str.upper)
    assert await _call(agent, "code") == "CODE"


def test_an_object_without_a_method_is_refused_at_once():
    """What cannot be called is refused when it is registered, with what to do."""
    with pytest.raises(OrchestrationError, match=r"give it handle_event\(event\)"):
        DirectAdapter().register_agent("agent", object())


def test_a_class_is_refused_at_once():
    """A class in place of an object is refused when it is registered."""
    with pytest.raises(OrchestrationError, match="Generator is a class"):
        DirectAdapter().register_agent("agent", Generator)


def test_a_name_is_given_once():
    """A second agent of the same name is refused, and the first stays."""
    adapter = DirectAdapter()
    adapter.register_agent("generator", Generator())
    with pytest.raises(OrchestrationError, match="'generator' is registered already"):
        adapter.register_agent("generator", Reviewer())
    assert adapter.agents == ("generator",)


def test_an_empty_name_is_refused():
    """Results are told apart by name."""
    with pytest.raises(OrchestrationError, match="cannot be empty"):
        DirectAdapter().register_agent("", Generator())


def test_an_unregistered_agent_leaves_its_name_free():
    """A name can be given again after `unregister_agent`."""
    adapter = DirectAdapter()
    adapter.register_agent("agent", Generator())
    adapter.unregister_agent("agent")
    adapter.register_agent("agent", Reviewer())
    assert adapter.agents == ("agent",)


async def test_an_unknown_name_is_answered_with_the_known_ones():
    """Calling or forgetting somebody who is not there says who is."""
    adapter = DirectAdapter()
    adapter.register_agent("generator", Generator())
    with pytest.raises(UnknownAgent, match=r"'reviewer' \(known: generator\)"):
        await adapter.call("reviewer", "task")
    with pytest.raises(UnknownAgent, match="'reviewer'"):
        adapter.unregister_agent("reviewer")
