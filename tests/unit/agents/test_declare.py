"""How agents are declared, and what is said of a wrong declaration."""

import dataclasses
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel

from aos import Agent, AgentOS, Context, GenericPurposeDrivenAgent, Message, cron, every, on
from aos.errors import InvalidAgent, InvalidInput, InvalidTopic


def _silent() -> type[Agent]:
    class Silent(Agent): ...

    return Silent


def _not_async() -> type[Agent]:
    class Plain(Agent):
        @on("x")
        def handle(self, event: Any) -> None: ...

    return Plain


def _two_direct() -> type[Agent]:
    class Two(Agent):
        @on()
        async def first(self, event: Any) -> None: ...

        @on()
        async def second(self, event: Any) -> None: ...

    return Two


def _too_many() -> type[Agent]:
    class Many(Agent):
        @on("x")
        async def handle(self, event: Any, ctx: Context, more: int) -> None: ...

    return Many


def _keyword_only() -> type[Agent]:
    class Keyword(Agent):
        @on("x")
        async def handle(self, *, event: Any) -> None: ...

    return Keyword


def _keyed_timer() -> type[Agent]:
    class KeyedTimer(Agent):
        key = "id"

        @every(5)
        async def tick(self, ctx: Context) -> None: ...

    return KeyedTimer


def _timer_with_event() -> type[Agent]:
    class Timer(Agent):
        @every(5)
        async def tick(self, event: Any, ctx: Context) -> None: ...

    return Timer


def _empty_key() -> type[Agent]:
    class EmptyKey(Agent):
        key = ""

        @on("x")
        async def handle(self, event: Any) -> None: ...

    return EmptyKey


def _state_without_defaults() -> type[Agent]:
    class Strict(BaseModel):
        must: int

    class NoDefault(Agent):
        State = Strict

        @on("x")
        async def handle(self, event: Any) -> None: ...

    return NoDefault


def _bad_name() -> type[Agent]:
    class Named(Agent):
        name = "a b/c"

        @on("x")
        async def handle(self, event: Any) -> None: ...

    return Named


def _lost_annotation() -> type[Agent]:
    class Lost(Agent):
        @on("x")
        async def handle(self, event: "Nowhere", ctx: Context) -> None: ...  # noqa: F821

    return Lost


def _odd_annotation() -> type[Agent]:
    class Odd(Agent):
        @on("x")
        async def handle(self, event: "1 +", ctx: Context) -> None: ...  # noqa: F722

    return Odd


def _unreadable() -> type[Agent]:
    class Unreadable(Agent):
        @on("x")
        async def handle(self, event: int | set[dict[Any, Any]] | list[int] | tuple[int, ...]) -> None: ...

    return Unreadable


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (_silent, "Silent handles nothing: give it a method with @on"),
        (_not_async, "handle must be written with 'async def'"),
        (_two_direct, r"two handlers @on\(\): first and second"),
        (_too_many, r"Many.handle must take \(self, event\) or \(self, event, ctx\)"),
        (_keyword_only, r"Keyword.handle must take \(self, event\)"),
        (_keyed_timer, "@every and @cron are for single agents, use ctx.schedule"),
        (_timer_with_event, r"Timer.tick must take \(self, ctx\)"),
        (_empty_key, "EmptyKey.key must be the name of a field"),
        (_state_without_defaults, "NoDefault.State cannot be made and stored.*give each field a default"),
        (_bad_name, "'a b/c' cannot be an agent's name"),
        (_lost_annotation, "Lost.handle.*'Nowhere' is not defined; define or import"),
        (_odd_annotation, "Odd.handle.*got '1 \\+'"),
        (_unreadable, "Unreadable.handle: payloads cannot be read"),
        (lambda: object, "is no agent: give an Agent class"),
        (lambda: Message, "is no agent: give an Agent class"),
    ],
)
async def test_a_wrong_declaration_says_what_is_wrong(make, text):
    """One line that names the class and the method, and what to write instead."""
    with pytest.raises(InvalidAgent, match=text):
        AgentOS(agents=[make()])


@pytest.mark.parametrize("pattern", ["", "a..b", "a.>.b", "x y", "a>", "a*b"])
def test_an_illegal_pattern_is_refused_where_it_is_written(pattern):
    """The decorator raises, so that the line is known."""
    with pytest.raises(InvalidTopic):
        on(pattern)


@pytest.mark.parametrize("interval", [0, -5, float("nan")])
def test_an_interval_must_be_more_than_nothing(interval):
    """So must a cron expression be one."""
    with pytest.raises(InvalidInput, match="more than 0"):
        every(interval)
    with pytest.raises(InvalidInput, match="no cron expression"):
        cron("every day")


async def test_two_agents_of_one_name_are_refused():
    """The second is told that the name is taken."""

    class Twin(Agent):
        @on("x")
        async def handle(self, event: Any) -> None: ...

    with pytest.raises(InvalidAgent, match="'Twin' is registered already"):
        AgentOS(agents=[Twin, Twin])
    with pytest.raises(InvalidAgent, match="is registered already"):
        AgentOS(agents=[Twin, GenericPurposeDrivenAgent("Twin")])


@dataclasses.dataclass
class Dataclass:
    x: int
    tags: list[str] = dataclasses.field(default_factory=list)


class Struct(msgspec.Struct):
    x: int


class Model(BaseModel):
    x: int


async def test_each_kind_of_payload_is_validated_at_the_annotation(store):
    """dict, dataclass, Struct, pydantic model, unions and lists of models, the whole message, and nothing declared."""
    seen: dict[str, Any] = {}

    class Types(Agent):
        @on("dataclass")
        async def dataclass(self, event: Dataclass) -> None:
            seen["dataclass"] = event

        @on("struct")
        async def struct(self, event: Struct, ctx: Context) -> None:
            seen["struct"] = event

        @on("model")
        async def model(self, event: Model) -> None:
            seen["model"] = event

        @on("models")
        async def models(self, event: list[Model] | Model) -> None:
            seen["models"] = event

        @on("message")
        async def message(self, event: Message) -> None:
            seen["message"] = (event.topic, event.payload(Model))

        @on("any")
        async def any(self, event) -> None:
            seen["any"] = event

    async with AgentOS(store, [Types]) as system:
        for topic in ("dataclass", "struct", "model", "message", "any"):
            await system.publish(topic, {"x": 1})
        await system.publish("models", [Model(x=1), Model(x=2)])
        await system.settle()
    assert seen == {
        "dataclass": Dataclass(1),
        "struct": Struct(1),
        "model": Model(x=1),
        "models": [Model(x=1), Model(x=2)],
        "message": ("message", Model(x=1)),
        "any": {"x": 1},
    }


@pytest.mark.parametrize("wanted", [Dataclass, Struct, Model, dict[str, int], int])
async def test_a_payload_that_does_not_fit_is_a_dead_letter_and_the_agent_goes_on(store, wanted):
    """It is not tried again, the reason names the type, and the next message is handled."""

    class Strict(Agent):
        @on("x")
        async def handle(self, event: wanted, ctx: Context) -> None:
            ctx.state["n"] = ctx.state.get("n", 0) + 1

    async with AgentOS(store, [Strict]) as system:
        await system.publish("x", {"x": "no number"})
        await system.publish("x", 5 if wanted is int else {"x": 5})
        await system.settle()
        (letter,) = await store.dead_letters()
        assert (letter.error_type, letter.message.attempt) == ("InvalidPayload", 1)
        assert "does not fit" in letter.reason
        assert (await system.inspect(Strict)).state == {"n": 1}


async def test_the_first_handler_whose_pattern_fits_takes_a_message(store):
    """In the order in which they stand in the class; the direct handler takes what has no topic."""
    seen: list[str] = []

    class Patterns(Agent):
        @on("a.b", "z")
        async def exact(self, event: Any) -> None:
            seen.append("exact")

        @on("a.*")
        async def star(self, event: Any) -> None:
            seen.append("star")

        @on("a.>")
        async def tail(self, event: Any) -> None:
            seen.append("tail")

        @on()
        async def direct(self, event: Any) -> None:
            seen.append("direct")

    async with AgentOS(store, [Patterns]) as system:
        for topic in ("a.b", "a.c", "a.c.d", "z"):
            await system.publish(topic, {})
        await system.send(Patterns, {})
        await system.send(Patterns, {}, topic="a.x")
        await system.settle()
    assert seen == ["exact", "star", "tail", "exact", "direct", "star"]


async def test_a_message_that_no_handler_takes_is_a_dead_letter(store):
    """A topic that the agent does not hear, or no topic where there is no @on(), is NoHandler."""

    class Narrow(Agent):
        @on("a")
        async def a(self, event: Any) -> None: ...

        @on("b")
        async def b(self, event: Any) -> None: ...

    async with AgentOS(store, [Narrow]) as system:
        await system.send(Narrow, {}, topic="c")
        await system.send(Narrow, {})
        await system.settle()
        letters = await store.dead_letters()
        assert [letter.error_type for letter in letters] == ["NoHandler", "NoHandler"]
        assert "'c'" in letters[0].reason
        assert "@on()" in letters[1].reason


async def test_handlers_are_inherited(store):
    """A subclass has the handlers of its base, and may override them."""

    class Base(Agent):
        @on("x")
        async def x(self, event: Any, ctx: Context) -> None:
            ctx.state["x"] = self.word()

        def word(self) -> str:
            return "base"

    class Derived(Base):
        def word(self) -> str:
            return "derived"

    async with AgentOS(store, [Derived]) as system:
        await system.publish("x", {})
        await system.settle()
        assert (await system.inspect(Derived)).state == {"x": "derived"}


async def test_an_agent_is_made_by_what_register_is_given(store):
    """`make=` makes the object of a class whose constructor takes arguments; agents may be added while it runs."""

    class Tool(Agent):
        def __init__(self, word: str) -> None:
            self.word = word

        @on("x")
        async def x(self, event: Any, ctx: Context) -> None:
            ctx.state["x"] = self.word

    async with AgentOS(store) as system:
        await system.register(Tool, make=lambda: Tool("hammer"))
        assert await system.publish("x", {}) == 1
        await system.settle()
        assert (await system.inspect(Tool)).state == {"x": "hammer"}


async def test_keys_are_fields_of_the_payload(store):
    """Dotted paths, texts and whole numbers; two keys are two agents."""

    class Ticket(Agent):
        key = "ticket.id"

        @on("t")
        async def t(self, event: Any, ctx: Context) -> None:
            ctx.state["key"] = ctx.key

    async with AgentOS(store, [Ticket]) as system:
        for value in (7, "seven", "a/b c.py"):
            await system.publish("t", {"ticket": {"id": value}})
        for value in (None, True, 1.5, "", "line\nbreak", "x" * 2000, [1]):
            await system.publish("t", {"ticket": {"id": value}})
        await system.publish("t", "no mapping")
        await system.settle()
        assert [agent.key for agent in await system.agents(kind="Ticket")] == ["7", "a/b c.py", "seven"]
        assert len(await store.dead_letters()) == 8
