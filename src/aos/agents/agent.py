"""`Agent`, the class to derive agents from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from aos.kernel.behaviour import MIB
from aos.resilience import RetryPolicy

if TYPE_CHECKING:
    from aos.agents.context import Context


class Agent:
    """Something with a purpose that never stops: it sleeps until a message or a timer wakes it.

    There is one agent of a class, or, with `key`, one for each value of a field of the messages, there from its first
    message on. An agent handles one message at a time. What it must remember goes into `ctx.state`; the object itself
    is made anew whenever the agent wakes.

    Class attributes:
        purpose: What it is for, in a line.
        name: First part of its address; the class's name if it is empty.
        key: The field of the payload that picks the agent, dots for fields in fields; None for a single agent.
        State: Type of `ctx.state` (pydantic model, dataclass or msgspec struct with defaults); None for a dict.
        state_version: Version of that type; raise it with every change that needs `migrate`.
        retry: When a failed message is tried again.
        timeout: Seconds that a handler may run, suspensions not counted; None is without limit.
        state_limit: Bytes that its state may have.
        mailbox_limit: Messages that may wait for it.
    """

    purpose: ClassVar[str] = ""
    name: ClassVar[str] = ""
    key: ClassVar[str | None] = None
    State: ClassVar[Any] = None
    state_version: ClassVar[int] = 1
    retry: ClassVar[RetryPolicy] = RetryPolicy()
    timeout: ClassVar[float | None] = 300.0
    state_limit: ClassVar[int] = MIB
    mailbox_limit: ClassVar[int] = 10_000

    async def activate(self, ctx: Context) -> None:
        """Called when the agent wakes, in the turn of its first message; anew, on a new object, if that turn fails."""

    async def hibernate(self) -> None:
        """Called before the agent leaves memory, idle or at a stop. It is not called when the process dies."""

    @classmethod
    def migrate(cls, state: dict[str, Any], version: int) -> Any:
        """Turn the state of an older version, as a dict, into one of `state_version`."""
        raise NotImplementedError(f"{cls.__name__} has states of version {version}: write its migrate()")
