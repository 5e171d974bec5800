"""Records of a store as plain data: what JSON shows, and what the tables are made of."""

from __future__ import annotations

from typing import Any

import msgspec

from aos.errors import InvalidPayload
from aos.message import Message
from aos.stores import AgentRecord, DeadLetter

Facts = dict[str, Any]


def agent_facts(record: AgentRecord, running: set[int]) -> Facts:
    """An agent without its state, and whether it is active, suspended or hibernated.

    Args:
        record: What the store knows of it.
        running: Fences of the processes that run now.
    """
    facts = msgspec.structs.asdict(record)
    del facts["state"]
    active = record.owner in running
    facts["life"] = "suspended" if record.waiting_for else "active" if active else "hibernated"
    facts["owner"] = record.owner if active else None
    return facts


def message_facts(message: Message) -> Facts:
    """A message with its payload as data."""
    facts = {name: value for name, value in msgspec.structs.asdict(message).items() if value not in ("", 0.0, ())}
    facts["data"] = payload_of(message)
    return facts


def payload_of(message: Message) -> Any:
    """A message's payload as data; as text where it is not JSON."""
    try:
        return message.payload()
    except InvalidPayload:
        return message.data.decode(errors="replace")


def letter_facts(letter: DeadLetter) -> Facts:
    """A dead letter with its message."""
    return {**msgspec.structs.asdict(letter), "message": message_facts(letter.message)}
