"""`aos send`: give a message to an agent, or to everybody who hears a topic."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Annotated

import msgspec
import typer

from aos.cli.access import existing, visited
from aos.cli.destination import Destination, idle_kinds
from aos.cli.options import DEFAULT_STORE, AsJson, StoreUrl
from aos.cli.payloads import line_batches, read_payload
from aos.cli.printing import counted, print_json
from aos.clock import now
from aos.entropy import Entropy
from aos.errors import AOSError, AskTimeout, InvalidInput, InvalidPayload, MailboxFull, StoreError
from aos.kernel import Runtime
from aos.message import Message, kind_of
from aos.stores import DurableStore

_SOURCE = "aos-send"
_NAMED = 10
_LISTED = 1000

Envelope = Callable[[bytes], Message]
"""Makes the message for a payload."""


class NobodyEmpties(StoreError):
    """A mailbox is full, and no process runs its agent. For one that is emptied see `MailboxFull`."""

    def __init__(self, full: MailboxFull, kind: str) -> None:
        super().__init__(
            f"the mailbox of {full.address!r} holds its limit of {full.limit:,} messages, and no process runs {kind}: "
            "start one with 'aos run', and send again"
        )


class Sent(msgspec.Struct):
    """What was sent.

    Args:
        id: The id of the message; of several, the last one's.
        messages: How many messages were accepted.
        reached: How many mailboxes they reached, each counted for each message.
        agents: The agents they were for, of very many the first; suspended ones that waited for it are not named.
        lost: Why agents that hear the topic could not take one: it was dead-lettered for them.
        idle: The kinds among these that no process runs now.
        repeated: Whether it had been accepted before under the same id.
    """

    id: str = ""
    messages: int = 0
    reached: int = 0
    agents: list[str] = []
    lost: dict[str, str] = {}
    idle: list[str] = []
    repeated: bool = False


def send(
    target: Annotated[str, typer.Argument(metavar="TOPIC-OR-AGENT", help="A topic, or an agent as 'aos ps' names it.")],
    payload: Annotated[str, typer.Argument(metavar="JSON", help="The payload; - reads standard input.")],
    *,
    store: StoreUrl = DEFAULT_STORE,
    key: Annotated[str, typer.Option(help="Which one, of an agent that there is one of for each key.")] = "",
    topic: Annotated[str, typer.Option(help="Which of an agent's handlers takes it.")] = "",
    id_: Annotated[str, typer.Option("--id", help="Accept it only once, however often it is sent.")] = "",
    delay: Annotated[float, typer.Option(min=0.0, metavar="S", help="Seconds before it is delivered.")] = 0.0,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the answer and print it.")] = False,
    timeout: Annotated[float, typer.Option(min=0.0, metavar="S", help="Seconds to wait for an answer.")] = 30.0,
    lines: Annotated[bool, typer.Option("--lines", help="Each line of standard input is a message.")] = False,
    as_json: AsJson = False,
) -> None:
    """Send a message to an agent, or publish it on a topic. It is kept until it is handled."""
    if lines and (payload != "-" or id_ or wait):
        raise InvalidInput("--lines reads standard input: write - in place of JSON, without --id and --wait")
    if wait and (id_ or delay):
        raise InvalidInput("--wait goes without --id and --delay")
    destination = Destination(target, key=key, topic=topic)
    new_id = Entropy().new_id

    def envelope(data: bytes) -> Message:
        at = now()
        due = at + delay if delay else 0.0
        return Message(id_ or new_id(), _SOURCE, destination.topic, data, at, destination.address, due)

    if lines:
        _show(asyncio.run(_send_lines(store, destination, envelope)), as_json=as_json)
        return
    data = read_payload(sys.stdin.buffer.read() if payload == "-" else payload.encode(errors="surrogateescape"))
    if wait:
        asyncio.run(_ask(store, destination, envelope(data), timeout, as_json=as_json))
    else:
        _show(asyncio.run(_send_one(store, destination, envelope, data, once=bool(id_))), as_json=as_json)


async def _send_one(url: str, destination: Destination, envelope: Envelope, data: bytes, *, once: bool) -> Sent:
    sent, kinds = Sent(), set[str]()
    async with visited(url) as store:
        await destination.find(store)
        await _deliver(store, destination, [envelope(data)], sent, kinds, once=once)
        sent.idle = await idle_kinds(store, kinds)
    return sent


async def _send_lines(url: str, destination: Destination, envelope: Envelope) -> Sent:
    """Send each line of standard input; those before one that cannot be sent are accepted."""
    sent, kinds = Sent(), set[str]()
    async with visited(url) as store:
        await destination.find(store)
        try:
            for batch in line_batches(sys.stdin.buffer):
                messages, wrong = _checked(destination, envelope, batch)
                if messages:
                    await _deliver(store, destination, messages, sent, kinds)
                if wrong is not None:
                    raise wrong
        except AOSError:
            print(f"{counted(sent.messages, 'message')} before this error were accepted", file=sys.stderr)
            raise
        sent.idle = await idle_kinds(store, kinds)
    return sent


def _checked(
    destination: Destination, envelope: Envelope, batch: list[tuple[int, bytes]]
) -> tuple[list[Message], InvalidPayload | None]:
    """The messages of a batch up to the first that nobody can take, and why."""
    messages: list[Message] = []
    for number, data in batch:
        message = envelope(data)
        try:
            destination.agents(message)
        except InvalidPayload as error:
            return messages, InvalidPayload(f"line {number}: {error}")
        messages.append(message)
    return messages, None


async def _deliver(
    store: DurableStore,
    destination: Destination,
    messages: list[Message],
    sent: Sent,
    kinds: set[str],
    *,
    once: bool = False,
) -> None:
    """Append messages and note what became of them."""
    named = dict.fromkeys(sent.agents)
    known = False
    for message in messages:
        found, lost = destination.agents(message)
        known = known or bool(found)
        kinds.update(map(kind_of, found))
        sent.lost.update(lost)
        named.update(dict.fromkeys(found[: max(0, _LISTED - len(named))]))
    before = sent.reached
    await _append(store, messages, sent, once=once)
    if sent.reached == before and not known:
        raise destination.unheard()
    sent.agents = list(named)
    sent.repeated = sent.reached == before
    sent.id = messages[-1].id


async def _append(store: DurableStore, messages: list[Message], sent: Sent, *, once: bool) -> None:
    """Append messages and count them; while a mailbox is full and somebody empties it, wait for room."""
    try:
        reached = await store.append(messages, once=once)
    except MailboxFull as full:
        kind = kind_of(full.address)
        if await idle_kinds(store, {kind}):
            raise NobodyEmpties(full, kind) from full
        if len(messages) > 1:  # all of them may be more than the mailbox can ever hold
            half = len(messages) // 2
            await _append(store, messages[:half], sent, once=once)
            await _append(store, messages[half:], sent, once=once)
            return
        reached = await Runtime(store).accept(messages, once=once)
    sent.reached += reached
    sent.messages += len(messages) if reached else 0


async def _ask(url: str, destination: Destination, message: Message, timeout: float, *, as_json: bool) -> None:
    store = existing(url)
    runtime = Runtime(store)
    await runtime.start()
    try:
        await destination.find(store)
        message = msgspec.structs.replace(message, type=destination.topic, subject=destination.address)
        agents, _ = destination.agents(message)
        if not agents:
            raise destination.unheard()
        _note(await idle_kinds(store, set(map(kind_of, agents))))
        answer = await runtime.ask(
            destination.address,
            msgspec.Raw(message.data),
            topic=destination.topic,
            timeout=timeout,
            returns=msgspec.Raw,
            source=_SOURCE,
        )
    except AskTimeout as error:
        raise AskTimeout(f"{error}; the message was accepted, only its answer will be thrown away") from None
    finally:
        await runtime.stop()
    text = bytes(answer)
    print(msgspec.json.format(b'{"answer":' + text + b"}" if as_json else text, indent=2).decode())


def _note(idle: list[str]) -> None:
    if idle:
        sys.stdout.flush()  # the note comes after what it is about, also in a file
        print(f"note: no process runs {', '.join(idle)} now; it is handled after the next 'aos run'", file=sys.stderr)


def _show(sent: Sent, *, as_json: bool) -> None:
    if as_json:
        print_json(sent)
        return
    for name, why in sent.lost.items():
        print(f"note: {name} cannot take it, its dead letter says why: {why}", file=sys.stderr)
    if sent.repeated:
        print(f"{sent.id} was accepted before; nothing was sent")
        return
    if not sent.messages:
        print("sent nothing: there were no lines")
        return
    names = ", ".join(sent.agents[:_NAMED]) or "a suspended agent"
    more = f" and {len(sent.agents) - _NAMED:,} more" if len(sent.agents) > _NAMED else ""
    what = sent.id if sent.messages == 1 else counted(sent.messages, "message")
    print(f"sent {what} to {names}{more}")
    _note(sent.idle)
