"""`GenericPurposeDrivenAgent`: an agent that is ready to be used, alone or hosted."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from aos.codec import encode_state
from aos.context import ContextServer
from aos.errors import InvalidAgent, InvalidPayload
from aos.kernel.behaviour import MIB


class GenericPurposeDrivenAgent:
    """An agent with an id, a purpose and a context. Override or assign `process_event` to make it do something.

    It works standing alone, and hosted by an `AgentOS`, where its context is durable.

    Args:
        agent_id: Its address when it is hosted.
        purpose: What it is for, in a line.
        adapter_name: The model route that it thinks with.
        timeout: Seconds that an event may take when it is hosted; None is without limit.
        state_limit: Bytes that its context may have when it is hosted.
    """

    def __init__(
        self,
        agent_id: str,
        purpose: str = "",
        adapter_name: str | None = None,
        *,
        timeout: float | None = 300.0,
        state_limit: int = MIB,
    ) -> None:
        if not agent_id:
            raise InvalidAgent(f"agent_id must be a name, not {agent_id!r}")
        self.agent_id = agent_id
        self.purpose = purpose
        self.adapter_name = adapter_name
        self.timeout = timeout
        self.state_limit = state_limit
        self.context_server: ContextServer | None = None
        self._turn = asyncio.Lock()
        self._holder: asyncio.Task[Any] | None = None

    async def initialize(self) -> None:
        """Get ready. Doing it twice is harmless."""
        if self.context_server is None:
            self.context_server = ContextServer()

    async def cleanup(self) -> None:
        """Let the event under way end, then let go of the context. Doing it twice, or first, is harmless."""
        self._check_alone("cleanup")
        async with self._turn:
            self.context_server = None

    async def __aenter__(self) -> Self:
        await self.initialize()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.cleanup()

    async def handle_event(self, event: Mapping[str, Any]) -> Any:
        """Process an event, one at a time, and note it in the history.

        Args:
            event: A mapping; its `type` names what happened.

        Returns:
            What `process_event` returned, and where that is None a dict that says that the event was processed.
        """
        if not isinstance(event, Mapping):
            raise InvalidPayload(f"an event is a dict such as {{'type': 'started'}}, not a {type(event).__name__}")
        self._check_alone("handle_event")
        await self.initialize()
        encode_state(dict(event))  # an event that cannot be kept is refused before anything is done
        async with self._turn:
            self._holder = asyncio.current_task()
            try:
                result = self.process_event(dict(event))
                if inspect.isawaitable(result):
                    result = await result
                if self.context_server is not None:
                    await self.context_server.add_event(dict(event))
            finally:
                self._holder = None
        if result is None:
            return {"status": "processed", "agent_id": self.agent_id, "event_type": event.get("type")}
        return result

    def _check_alone(self, called: str) -> None:
        if self._holder is not None and self._holder is asyncio.current_task():
            raise InvalidAgent(f"{self.agent_id!r} would wait for itself: process_event called its own {called}")

    async def process_event(self, event: dict[str, Any]) -> Any:
        """Do what the event asks for. As it stands it does nothing, and says so."""
        return {
            "status": "recorded",
            "agent_id": self.agent_id,
            "event_type": event.get("type"),
            "detail": "the event was added to the history; override process_event to act on it",
        }
