"""What the reviewers remember, read from their durable states without waking them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec

from aos.agents import AgentOS
from aos.coding.report import FileRecord
from aos.coding.reviewer import FileState, Reviewer, record_of

UNKNOWN = "!"
"""Stands for the content of a file whose last review failed: it equals no hash."""
_PAGE = 500


class Archive:
    """Reads the states of all reviewers of a system, a page at a time."""

    def __init__(self, system: AgentOS) -> None:
        self._system = system

    async def hashes(self, below: str = "") -> dict[str, str]:
        """The content last reviewed, by path, for each file that is not known to be gone.

        Args:
            below: One path, or a folder whose files are meant.
        """
        known = {}
        async for path, state in self._states(below):
            if not state.get("removed") and state.get("reviews"):
                known[path] = state.get("hash") or UNKNOWN
        return known

    async def records(self) -> list[FileRecord]:
        """What a report says of each file that is there."""
        found = []
        async for path, state in self._states():
            if (record := record_of(path, msgspec.convert(state, FileState))) is not None:
                found.append(record)
        return found

    async def _states(self, below: str = "") -> AsyncIterator[tuple[str, dict[str, Any]]]:
        kind, after = Reviewer.__name__, ""
        while True:
            page = await self._system.agents(kind=kind, prefix=f"{kind}/{below}", after=after, limit=_PAGE)
            for agent in page:
                mine = not below or agent.key == below or agent.key.startswith(below + "/")
                if mine and isinstance(agent.state, dict):
                    yield agent.key, agent.state
            if len(page) < _PAGE:
                return
            after = page[-1].address
