"""Which mailboxes a message goes to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from aos.codec import payload_decoder
from aos.errors import InvalidPayload, UnknownAgent
from aos.message import REPLY, Message, kind_of
from aos.stores.records import EACH, SINGLE, Kind
from aos.topic import TopicTable

KEY_LIMIT = 1024


class Unroutable(Exception):
    """A payload does not say which mailbox of a kind is meant."""


class Routes:
    """The kinds of a store, and the waits of suspended turns, as a table from topics to addresses."""

    def __init__(self) -> None:
        self.kinds: dict[str, Kind] = {}
        self.lowest_limit = Kind("").limit
        self._table: TopicTable[tuple[str, str]] = TopicTable()

    def declare(self, kind: Kind) -> None:
        """Add or replace a kind."""
        before = self.kinds.get(kind.name)
        for pattern in before.patterns if before else ():
            self._table.remove(pattern, (kind.name, before.key if before else SINGLE))
        for pattern in kind.patterns:
            self._table.add(pattern, (kind.name, kind.key))
        self.kinds[kind.name] = kind
        self.lowest_limit = min((known.limit for known in self.kinds.values()), default=self.lowest_limit)

    def wait(self, pattern: str, address: str) -> None:
        """A suspended turn of `address` waits for `pattern`."""
        self._table.add(pattern, (address, SINGLE))

    def unwait(self, pattern: str, address: str) -> None:
        """The wait is over."""
        self._table.remove(pattern, (address, SINGLE))

    def limit(self, address: str) -> int:
        """How many messages the mailbox may hold."""
        kind = self.kinds.get(kind_of(address))
        return kind.limit if kind else Kind("").limit

    def addresses(self, message: Message, lost: list[tuple[str, str]]) -> Iterable[str]:
        """The mailboxes for a message; kinds that hear it and find no key in it are added to `lost` with the reason.

        Raises:
            UnknownAgent: It has a subject whose kind is not known.
        """
        if subject := message.subject:
            if message.type != REPLY:
                kind = self.kinds.get(kind_of(subject))
                if kind is None or (kind.key == SINGLE) != (subject == kind.name) or not _is_address(subject):
                    raise UnknownAgent(subject, tuple(self.kinds))
            return (subject,)
        targets = self._table.match(message.type)
        if len(targets) == 1 and targets[0][1] == SINGLE:
            return (targets[0][0],)
        found: dict[str, None] = {}
        for target, key in targets:
            if key == SINGLE:
                found[target] = None
            elif key == EACH:
                found[f"{target}/{message.id}"] = None
            else:
                try:
                    found[f"{target}/{key_in(message, key)}"] = None
                except Unroutable as error:
                    lost.append((target, str(error)))
        return found

    def redriven(self, address: str, message: Message) -> tuple[Message, Sequence[str]]:
        """A dead letter's message as a first attempt, and its mailbox: none if it still does not say which."""
        # A repeating timer keeps its name: its redriven run takes the place of the next one, and sets it anew.
        name = message.name if message.repeat else ""
        again = msgspec.structs.replace(message, attempt=1, not_before=0.0, deadline=0.0, name=name)
        kind = self.kinds.get(address)
        if kind is None or kind.key == SINGLE:
            return again, (address,)
        try:
            return again, (f"{address}/{key_in(again, kind.key)}",)
        except Unroutable:
            return again, ()


def key_in(message: Message, key: str) -> str:
    """The text at a dotted path in a message's payload; `Unroutable` if there is none."""
    try:
        value: Any = payload_decoder(Any)(message.data)
    except InvalidPayload as error:
        raise Unroutable(str(error)) from error
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise Unroutable(f"the payload has no text or whole number in the field {key!r}, which picks the mailbox")
    text = str(value)
    if not _is_key(text):
        raise Unroutable(f"the field {key!r} must be printable text of at most {KEY_LIMIT} characters")
    return text


def _is_key(text: str) -> bool:
    return 0 < len(text) <= KEY_LIMIT and text.isprintable()


def _is_address(address: str) -> bool:
    _, slash, key = address.partition("/")
    return not slash or _is_key(key)
