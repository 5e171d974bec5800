"""How an agent is called: which of its methods, with which arguments."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any

from aos.orchestration.errors import OrchestrationError
from aos.orchestration.plan import NO_OUTPUT

Entry = Callable[[Any, Any, Mapping[str, Any] | None], Any]
"""Takes the task, the output of the step before (or `NO_OUTPUT`) and the context."""

_METHODS = ("handle_event", "generate_code", "review_code")


def entry_of(agent: object) -> Entry:
    """The way into an agent.

    It is the first of `handle_event`, `generate_code`, `review_code` and a plain call that the agent has.
    Of two methods the one that is defined closer to the agent counts: a reviewer that defines `review_code`
    and inherits a general `handle_event` is called by `review_code`. A mock with a `spec` has what its spec
    class has, and is called as an object of that class would be; a mock without one, which answers to every
    name, is called by what its test has set up.

    `handle_event` gets `task_event`. `generate_code` gets the task. `review_code` and a plain call get the
    output of the step before, or the task if there was none. Further parameters called `task`, `previous`
    and `context` get what they are called after, and a plain call whose parameters are `task` and
    `previous` gets those.

    Raises:
        OrchestrationError: It can be called in none of these ways.
    """
    if isinstance(agent, type):
        raise OrchestrationError(f"{agent.__name__} is a class: register an object of it")
    method = "" if _is_mocked_call(agent) else _method_of(agent)
    if method == "handle_event":
        return lambda task, previous, context: agent.handle_event(  # type: ignore[attr-defined]  # a mock has it
            task_event(task, previous, context)
        )
    if method:
        return _with_arguments(getattr(agent, method), takes_task=method == "generate_code")
    if callable(agent):
        return _with_arguments(agent, takes_task=False)
    raise OrchestrationError(
        f"a {type(agent).__name__} cannot be called as an agent: "
        "give it handle_event(event), generate_code(task), review_code(code) or __call__ "
        "(an Agent that a system hosts is called through a BusAdapter)"
    )


def task_event(task: Any, previous: Any, context: Mapping[str, Any] | None) -> dict[str, Any]:
    """The event that tells an agent its task; `previous` is None for the first step."""
    return {
        "type": "task",
        "task": task,
        "previous": None if previous is NO_OUTPUT else previous,
        "context": dict(context) if context else {},
    }


def _is_mocked_call(agent: object) -> bool:
    """Whether it is a mock that has a result for being called, and none of the methods."""
    mock = sys.modules.get("unittest.mock")
    if mock is None or not isinstance(agent, mock.CallableMixin) or not isinstance(agent, mock.NonCallableMock):
        return False
    has_result = agent.side_effect is not None or not isinstance(agent.return_value, mock.NonCallableMock)
    return has_result and not any(name in dir(agent) for name in _METHODS)


def _method_of(agent: object) -> str:
    # What answers to every name lists those that somebody has set up.
    listed = dir(agent)
    have = [name for name in _METHODS if name in listed and callable(getattr(agent, name, None))]
    if have:
        return min(have, key=lambda name: _distance(agent, name))
    return next((name for name in _METHODS if callable(getattr(agent, name, None))), "")


def _distance(agent: object, name: str) -> int:
    """How far from the object itself a method is defined."""
    if name in getattr(agent, "__dict__", ()):
        return -1
    # Not type(agent): a mock's __class__ is the class that it stands for.
    ancestors = agent.__class__.__mro__
    return next((far for far, cls in enumerate(ancestors) if name in vars(cls)), len(ancestors))


def _with_arguments(call: Callable[..., Any], *, takes_task: bool) -> Entry:
    first, others = _parameters(call)
    task_first = takes_task or (first == "task" and "previous" in others)

    def enter(task: Any, previous: Any, context: Mapping[str, Any] | None) -> Any:
        argument = task if task_first or previous is NO_OUTPUT else previous
        if not others:
            return call(argument)
        event = task_event(task, previous, context)
        return call(argument, **{name: event[name] for name in others})

    return enter


def _parameters(call: Callable[..., Any]) -> tuple[str, list[str]]:
    """The name of the first parameter, and those of the others that an event has a value for."""
    try:
        parameters = list(inspect.signature(call).parameters.values())
    except (TypeError, ValueError):
        # Some callables written in C have no signature; they take one argument.
        return "", []
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    others = [p.name for p in parameters[1:] if p.kind in by_name and p.name in {"task", "previous", "context"}]
    return (parameters[0].name if parameters else ""), others
