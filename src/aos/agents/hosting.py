"""How agents become behaviours of the kernel."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aos.agents.agent import Agent
from aos.agents.context import Context
from aos.agents.declare import TIMER, HandlerTable, check_name
from aos.agents.purpose import GenericPurposeDrivenAgent
from aos.codec import encode_state, state_decoder
from aos.errors import InvalidAgent, InvalidPayload, NoHandler
from aos.kernel import Behaviour
from aos.stores.records import SINGLE, Kind


def behaviour_of_class(cls: type[Agent], make: Callable[[], Agent] | None = None) -> tuple[Behaviour, HandlerTable]:
    """The behaviour of an `Agent` class, and its handlers; raises `InvalidAgent`."""
    table = HandlerTable(cls)
    if not table.handlers:
        raise InvalidAgent(f"{cls.__name__} handles nothing: give it a method with @on('topic')")
    if table.timers and cls.key is not None:
        raise InvalidAgent(
            f"{cls.__name__} is one agent for each {cls.key!r}: @every and @cron are for single agents, "
            "use ctx.schedule in a handler"
        )
    _check_state(cls)
    create = make or cls

    def new(_address: str) -> Agent:
        agent = create()
        if not isinstance(agent, cls):
            raise InvalidAgent(f"make= of {cls.__name__} gave a {type(agent).__name__}")
        return agent

    def handle(agent: Agent, turn: Context) -> Awaitable[Any]:
        message = turn.message
        handler = table.find(message) if message.name else table.found.get(message.type) or table.find(message)
        if handler is None:
            if message.name.startswith(TIMER):
                return _end_timer(turn)
            what = f"the topic {message.type!r}" if message.type else "what is sent to it directly: give it an @on()"
            raise NoHandler(f"{cls.__name__} has no handler for {what}")
        if handler.takes_event:
            event = message if handler.read is None else handler.read(message.data)
            if handler.takes_context:
                return handler.function(agent, event, turn)
            return handler.function(agent, event)
        return handler.function(agent, turn)

    behaviour = Behaviour(
        kind=Kind(
            check_name(cls.name or cls.__name__, "the class"),
            table.patterns,
            SINGLE if cls.key is None else cls.key,
            cls.mailbox_limit,
            cls.purpose,
        ),
        handle=handle,
        turn=Context,
        make=new,
        activate=None if cls.activate is Agent.activate else cls.activate,
        hibernate=None if cls.hibernate is Agent.hibernate else cls.hibernate,
        state_type=cls.State or dict,
        new_state=cls.State or dict,
        schema=cls.state_version,
        migrate=None if cls.migrate.__func__ is Agent.migrate.__func__ else cls.migrate,  # type: ignore[attr-defined]  # a classmethod has it
        state_limit=cls.state_limit,
        retry=cls.retry,
        timeout=cls.timeout,
    )
    return behaviour, table


async def _end_timer(turn: Context) -> None:
    """The code of a repeating handler is gone: its timer goes too."""
    turn.unstage_timer(turn.message.name)


def _check_state(cls: type[Agent]) -> None:
    if cls.key == "" or (cls.key is not None and not isinstance(cls.key, str)):
        raise InvalidAgent(f"{cls.__name__}.key must be the name of a field, or None")
    if cls.State is None:
        return
    try:
        state_decoder(cls.State)(encode_state(cls.State()))
    except (TypeError, ValueError, InvalidPayload) as error:
        why = " ".join(str(error).split())
        raise InvalidAgent(
            f"{cls.__name__}.State cannot be made and stored: {why}: give each field a default"
        ) from error


def behaviour_of_object(agent: GenericPurposeDrivenAgent, topics: Sequence[str]) -> Behaviour:
    """The behaviour of a ready-made agent: one mailbox, its context server as the state."""

    async def handle(hosted: GenericPurposeDrivenAgent, turn: Context) -> Any:
        await hosted.initialize()
        server = hosted.context_server
        if server is None:
            raise InvalidAgent(f"{hosted.agent_id!r} has no context server after initialize()")
        server.restore(turn.state)
        try:
            result = await hosted.handle_event(turn.message.payload())
            turn.state = server.snapshot()
        except BaseException:
            server.restore(turn.state)
            raise
        return result

    return Behaviour(
        kind=Kind(check_name(agent.agent_id, "agent_id"), tuple(topics), SINGLE, purpose=agent.purpose),
        handle=handle,
        turn=Context,
        make=lambda _address: agent,
        timeout=agent.timeout,
        state_limit=agent.state_limit,
    )
