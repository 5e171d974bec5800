"""The context server of an agent: its context, its event history, its memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from aos.codec import encode_state, state_decoder
from aos.errors import InvalidInput


class ContextServer:
    """Context (names with values), event history (the latest) and memory (names with values that `clear` keeps).

    Values are plain data and come back as copies: changing one changes nothing here. When its agent is hosted, all of
    it is the agent's durable state.

    Args:
        history_limit: Events kept.
        memory_limit: Memories kept; one more is refused.
    """

    def __init__(self, *, history_limit: int = 100, memory_limit: int = 10_000) -> None:
        self._context: dict[str, bytes] = {}
        self._history: deque[bytes] = deque(maxlen=history_limit)
        self._memory: dict[str, bytes] = {}
        self._memory_limit = memory_limit
        self._events_seen = 0

    async def get_context(self, name: str | None = None, default: Any = None) -> Any:
        """The value of a name, or everything as a dict."""
        if name is None:
            return {key: _read(value) for key, value in self._context.items()}
        value = self._context.get(name)
        return default if value is None else _read(value)

    async def set_context(self, name: str, value: Any) -> None:
        """Set a value; `InvalidPayload` if it is not plain data."""
        self._context[name] = encode_state(value)

    async def update_context(self, values: Mapping[str, Any] | None = None, **more: Any) -> None:
        """Set several values, all or none."""
        self._context.update({name: encode_state(value) for name, value in {**(values or {}), **more}.items()})

    async def clear_context(self) -> None:
        """Forget all values; history and memory stay."""
        self._context.clear()

    async def add_event(self, event: Mapping[str, Any]) -> None:
        """Add an event to the history; the oldest makes room."""
        self._history.append(encode_state(dict(event)))
        self._events_seen += 1

    async def get_history(self, limit: int | None = None) -> list[dict[str, Any]]:
        """The latest events, oldest first."""
        events = list(self._history)
        return [_read(event) for event in (events if limit is None else events[max(0, len(events) - limit) :])]

    @property
    def events_seen(self) -> int:
        """Events ever added."""
        return self._events_seen

    async def remember(self, name: str, value: Any) -> None:
        """Put a value into memory."""
        if name not in self._memory and len(self._memory) >= self._memory_limit:
            raise InvalidInput(f"the memory holds its limit of {self._memory_limit:,} entries: forget some first")
        self._memory[name] = encode_state(value)

    async def recall(self, name: str | None = None, default: Any = None) -> Any:
        """A value from memory, or everything as a dict."""
        if name is None:
            return {key: _read(value) for key, value in self._memory.items()}
        value = self._memory.get(name)
        return default if value is None else _read(value)

    async def forget(self, name: str) -> bool:
        """Take a value out of memory; whether it was there."""
        return self._memory.pop(name, None) is not None

    def snapshot(self) -> dict[str, Any]:
        """Everything as plain data."""
        return {
            "context": {key: _read(value) for key, value in self._context.items()},
            "history": [_read(event) for event in self._history],
            "memory": {key: _read(value) for key, value in self._memory.items()},
            "events_seen": self._events_seen,
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Take over what `snapshot` gave; an empty one clears everything."""
        self._context = {key: encode_state(value) for key, value in snapshot.get("context", {}).items()}
        self._history.clear()
        self._history.extend(encode_state(event) for event in snapshot.get("history", ()))
        self._memory = {key: encode_state(value) for key, value in snapshot.get("memory", {}).items()}
        self._events_seen = snapshot.get("events_seen", 0)


_read = state_decoder(Any)
