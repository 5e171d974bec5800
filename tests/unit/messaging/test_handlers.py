"""Handlers are called with what their annotation says, or not at all."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import msgspec
import pydantic
import pytest

from aos.errors import InvalidInput, InvalidPayload
from aos.kernel.handlers import payload_reader, payload_type
from aos.message import Message

if TYPE_CHECKING:
    from nowhere import Missing


@dataclass
class Order:
    sku: str
    count: int = 1


class Model(pydantic.BaseModel):
    sku: str
    count: int = 1


class Struct(msgspec.Struct):
    sku: str
    count: int = 1


class Dict(TypedDict):
    sku: str


class Plain:
    pass


@pytest.mark.parametrize("wanted", [Order, Model, Struct])
async def test_payloads_are_validated(bus, wanted):
    """A payload becomes what the annotation says; what does not fit is a dead letter at once, and the next is heard."""
    heard: list[Any] = []

    def handle(order: wanted) -> None:
        heard.append(order)

    handle.__annotations__["order"] = wanted
    await bus.subscribe("a", handle)
    ready = wanted(sku="x", count=2)
    for payload in ({"sku": "a"}, {"sku": "a", "count": "many"}, {"count": 1}, "text", None, ready):
        await bus.publish("a", payload)
    await bus.settle()
    assert heard == [wanted(sku="a"), ready]
    assert heard[1] is ready
    assert {letter.error_type for letter in await bus.dead_letters()} == {"InvalidPayload"}
    assert [letter.message.attempt for letter in await bus.dead_letters()] == [1, 1, 1, 1]
    assert "count" in (await bus.dead_letters())[0].reason


async def test_one_kind_of_payload_fits_another_of_the_same_shape(bus):
    """As through a store, a struct fits a dataclass with the same fields."""
    heard: list[Order] = []

    async def handle(order: Order) -> None:
        heard.append(order)

    await bus.subscribe("a", handle)
    await bus.publish("a", Struct(sku="a", count=3))
    await bus.settle()
    assert heard == [Order("a", 3)]


@pytest.mark.parametrize(
    ("wanted", "payload", "result"),
    [
        (int, 3, 3),
        (str, "x", "x"),
        (dict, {"a": object}, {"a": object}),
        (dict[str, Any], {"a": object}, {"a": object}),
        (list[Any], [object], [object]),
        (list[int], [1], [1]),
        (tuple[int, int], [1, 2], (1, 2)),
        (int | None, None, None),
        (Dict, {"sku": "a"}, {"sku": "a"}),
        (float, 1, 1.0),
        (Order | None, {"sku": "a"}, Order("a")),
        (Annotated[int, msgspec.Meta(gt=0)], 1, 1),
    ],
)
def test_what_fits(wanted, payload, result):
    """Payloads that fit as JSON would; plain containers are handed over as they are."""
    read = payload_reader(wanted)
    assert read is not None
    assert read(payload) == result


@pytest.mark.parametrize(
    ("wanted", "payload"),
    [
        (int, "3"),
        (int, True),
        (str, 3),
        (dict, [1]),
        (dict[str, Any], {1: object()}),
        (list[int], ["a"]),
        (int | None, "x"),
        (Dict, {}),
        (Order, object()),
        (Plain, {}),
        (Annotated[int, msgspec.Meta(gt=0)], 0),
    ],
)
def test_what_does_not_fit(wanted, payload):
    """A payload that does not fit raises InvalidPayload, whatever it is."""
    read = payload_reader(wanted)
    assert read is not None
    with pytest.raises(InvalidPayload):
        read(payload)


def test_an_instance_of_any_class_fits_it():
    """A class that no codec knows takes its own instances."""
    read, plain = payload_reader(Plain), Plain()
    assert read is not None
    assert read(plain) is plain


def test_anything_fits_no_annotation():
    """Without an annotation, or with Any or object, nothing is read at all."""
    assert payload_reader(Any) is None
    assert payload_reader(object) is None


class Listener:
    async def method(self, order: Order) -> None: ...

    def __call__(self, order: Order) -> None: ...

    def two(self, order: Order, context: Missing) -> None: ...

    @classmethod
    def of_class(cls, order: Order) -> None: ...

    @staticmethod
    def static(order: Order) -> None: ...


class Heir(Listener):
    pass


def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator of the usual kind."""

    @functools.wraps(function)
    def inner(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return inner


@pytest.mark.parametrize(
    ("function", "skip"),
    [
        (Listener().method, 0),
        (Listener.method, 1),
        (Listener.two, 1),
        (Listener(), 0),
        (Heir(), 0),
        (Listener.of_class, 0),
        (Listener.static, 0),
        (functools.partial(Listener.two, Listener()), 0),
        (functools.partial(Listener().two, context=None), 0),
        (wrapped(Listener.static), 0),
        (wrapped(wrapped(Listener().method)), 0),
    ],
)
def test_where_annotations_are_found(function, skip):
    """The annotation is found on whatever can be called, resolved from text, without evaluating any other."""
    assert payload_type(function, skip) is Order


def test_annotations_that_say_nothing():
    """No annotation, no signature, or only `*args` mean any payload."""

    def bare(payload): ...

    def many(*payloads): ...

    assert [payload_type(each) for each in (bare, many, [].append, dict)] == [Any] * 4


def test_an_enclosing_functions_type_is_found_where_it_is_used():
    """A type of an enclosing function is found if the handler uses it."""

    @dataclass
    class Local:
        n: int

    def handle(local: Local) -> None:
        assert isinstance(local, Local)

    assert payload_type(handle) is Local


@pytest.mark.parametrize("annotation", ["Missing", "no such", "asyncio.Nothing", "list[Missing]"])
async def test_an_annotation_that_cannot_be_read(bus, annotation):
    """An annotation that names nothing is refused when subscribing, with the handler's name and what to do."""

    def handle(payload): ...

    handle.__annotations__["payload"] = annotation
    with pytest.raises(InvalidInput, match=r"handle cannot be read: .*; define or import"):
        await bus.subscribe("a", handle)


class Unfit:
    def nothing(self) -> None: ...

    def two(self, a: Any, b: Any) -> None: ...

    def keyword(self, *, payload: Any) -> None: ...

    def required(self, payload: Any, *, more: Any) -> None: ...

    def generator(self, payload: Any) -> Any:
        yield payload

    async def stream(self, payload: Any) -> Any:
        yield payload


UNFIT = [Unfit().nothing, Unfit().two, Unfit().keyword, Unfit().required, Unfit().generator, Unfit().stream]


@pytest.mark.parametrize("handler", [*UNFIT, None, "text"])
async def test_what_is_no_handler(bus, handler):
    """What cannot be called with one message, or would never run, is refused when subscribing."""
    with pytest.raises(InvalidInput):
        await bus.subscribe("a", handler)
    assert bus.statistics().subscriptions == 0


async def test_a_handler_may_return_any_awaitable(bus):
    """What a sync handler returns is awaited if it can be."""
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    future.set_result(5)
    await bus.subscribe("a", lambda _: future)
    assert await bus.request("a", 1) == 5


async def test_a_message_that_is_not_json(bus):
    """A handler that wants the `Message` of a payload that is not JSON gets none: it is a dead letter."""

    def handle(message: Message) -> None: ...

    await bus.subscribe("a", handle)
    await bus.publish("a", object())
    await bus.settle()
    assert (await bus.dead_letters())[0].error_type == "InvalidPayload"
