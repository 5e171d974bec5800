"""What the kernel must know of a kind of mailbox to run turns for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec

from aos.resilience import RetryPolicy
from aos.stores.records import Kind

if TYPE_CHECKING:
    from aos.kernel.turn import OpenTurn

MIB = 1024 * 1024


class Behaviour(msgspec.Struct, frozen=True, kw_only=True):
    """How the mailboxes of one kind are handled.

    Args:
        kind: The kind as the store knows it.
        handle: Runs the handler for `turn.message` and returns its result, which answers an ask.
        make: Makes the object that handles a mailbox while it is active; called with the address.
        activate: Called with that object before its first turn.
        turn: Class of the turns, so that handlers get their own view of one.
        state_type: Type of the state; `dict` for plain data.
        new_state: Makes the state of a mailbox that has none.
        schema: Version of `state_type`.
        migrate: Turns a state of an older version, as plain data, into one of this version.
        state_limit: Bytes that a state may have.
        retry: When a failed turn is tried again.
        timeout: Seconds that a handler may run, its suspensions not counted; None is without limit.
        ends: Whether a mailbox is for one message only.
    """

    kind: Kind
    handle: Callable[[Any, Any], Awaitable[Any]]
    turn: type[OpenTurn]
    make: Callable[[str], Any] = str
    activate: Callable[[Any, Any], Awaitable[None]] | None = None
    hibernate: Callable[[Any], Awaitable[None]] | None = None
    state_type: Any = dict
    new_state: Callable[[], Any] = dict
    schema: int = 1
    migrate: Callable[[dict[str, Any], int], Any] | None = None
    state_limit: int = MIB
    retry: RetryPolicy = msgspec.field(default_factory=RetryPolicy)
    timeout: float | None = 300.0
    ends: bool = False
