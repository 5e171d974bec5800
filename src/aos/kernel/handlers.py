"""Reading a handler's declaration: what it wants to be called with."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable
from typing import Any

from aos.codec import encode_payload, payload_decoder
from aos.errors import InvalidInput

_POSITIONAL = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.VAR_POSITIONAL,
)


def payload_type(function: Callable[..., Any], skip: int = 0) -> Any:
    """The annotation of the parameter that takes the payload, resolved; `Any` if there is none.

    Only that annotation is evaluated: the names in the others need not exist at run time.

    Args:
        function: A function, bound method, partial or object that can be called.
        skip: Positional parameters before it, such as `self` of a function in a class body.

    Raises:
        InvalidInput: No parameter takes the payload, or its annotation names something that is not there.
    """
    name = handler_name(function)
    try:
        signature = _signature(function)
    except NameError as error:
        raise _unresolved(name, error) from error
    if signature is None:
        return Any
    parameters = list(signature.parameters.values())
    takes = [each for each in parameters if each.kind in _POSITIONAL]
    if len(takes) > skip:
        parameter = takes[skip]
    elif takes and takes[-1].kind is inspect.Parameter.VAR_POSITIONAL:
        parameter = takes[-1]
    else:
        raise InvalidInput(f"{name} takes no payload: give it a parameter for the message")
    if parameter.annotation is inspect.Parameter.empty:
        return Any
    return _resolved(name, function, parameter.annotation)


def check_handler(function: Callable[..., Any]) -> Any:
    """`payload_type` of a handler that is called with the payload alone; `InvalidInput` if it cannot be."""
    name = handler_name(function)
    if not callable(function):
        raise InvalidInput(f"a handler is a function that takes a message, not {name}")
    if inspect.isgeneratorfunction(origin := _origin(function)) or inspect.isasyncgenfunction(origin):
        raise InvalidInput(f"{name} is a generator, which would never run: use return instead of yield")
    wanted = payload_type(function)
    signature = _signature(function)
    try:
        if signature is not None:
            signature.bind(None)
    except TypeError as error:
        raise InvalidInput(f"{name} cannot be called with a message alone: {error}") from error
    return wanted


def _signature(function: Callable[..., Any]) -> inspect.Signature | None:
    """What a function takes; None where it does not tell."""
    try:
        return inspect.signature(function)
    except ValueError:  # some functions written in C
        return None
    except TypeError:  # an AsyncMock, up to Python 3.11.2
        if not callable(function):
            raise
        return None


def handler_name(function: object) -> str:
    """What to call a handler in a report."""
    if isinstance(function, functools.partial):
        function = function.func
    name = getattr(function, "__qualname__", None)
    return name if isinstance(name, str) else type(function).__qualname__


def payload_reader(wanted: Any) -> Callable[[Any], Any] | None:
    """A function that gives a payload as `wanted`; None if any payload fits as it is.

    What already is a `wanted` is passed by reference. Everything else goes through JSON, as it would through a store,
    so that the same payloads fit in memory and on disk. The function raises `InvalidPayload`; so does this one.
    """
    if wanted is Any or wanted is object:
        return None
    decode = payload_decoder(wanted)
    fits = _fits(wanted)

    def read(payload: Any) -> Any:
        return payload if fits(payload) else decode(encode_payload(payload))

    return read


def _fits(wanted: Any) -> Callable[[Any], bool]:
    """Whether a payload is a `wanted`, as far as a look at its type can tell; when in doubt it is not."""
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if origin is dict and arguments == (str, Any):
        return lambda payload: isinstance(payload, dict) and all(isinstance(key, str) for key in payload)
    if origin in (dict, list) and set(arguments) == {Any}:
        return lambda payload: isinstance(payload, origin)
    if not isinstance(wanted, type) or typing.is_typeddict(wanted) or getattr(wanted, "_is_protocol", False):
        return lambda _: False
    if wanted in (int, float):  # a bool is an int, and JSON knows the difference
        return lambda payload: type(payload) is wanted
    return lambda payload: isinstance(payload, wanted)


def _origin(function: Any) -> Any:
    """The function whose annotations `inspect.signature` shows."""
    while True:
        if isinstance(function, functools.partial):
            function = function.func
        elif inspect.ismethod(function):
            function = function.__func__
        elif inspect.isfunction(function):
            if not hasattr(function, "__wrapped__"):
                return function
            function = function.__wrapped__
        elif inspect.isfunction(call := inspect.getattr_static(type(function), "__call__", None)):
            function = call
        else:
            return function


def _resolved(name: str, function: Callable[..., Any], annotation: Any) -> Any:
    origin = _origin(function)
    names = dict(getattr(origin, "__globals__", {}))
    code = getattr(origin, "__code__", None)
    for free, cell in zip(getattr(code, "co_freevars", ()), getattr(origin, "__closure__", None) or (), strict=False):
        try:
            names[free] = cell.cell_contents
        except ValueError:  # the enclosing function has not given it a value yet
            continue

    def stand_in(payload: object) -> None:
        """Carries one annotation to `get_type_hints`."""

    stand_in.__annotations__ = {"payload": annotation}
    try:
        return typing.get_type_hints(stand_in, globalns=names, include_extras=True)["payload"]
    except (NameError, AttributeError, SyntaxError, TypeError) as error:
        raise _unresolved(name, error) from error


def _unresolved(name: str, error: Exception) -> InvalidInput:
    return InvalidInput(
        f"the annotation of the message in {name} cannot be read: {error}; "
        "define or import the type at the top of its file, outside `if TYPE_CHECKING`"
    )
