"""Leaving out what was accepted before."""

from __future__ import annotations

from collections import OrderedDict


class Once:
    """The latest message ids that were given, in a bounded window."""

    def __init__(self, window: int) -> None:
        self.duplicates = 0
        self._window = window
        self._ids: OrderedDict[str, None] = OrderedDict()

    def is_first(self, id: str) -> bool:
        """Whether an id is new; it is remembered."""
        if id in self._ids:
            self.duplicates += 1
            return False
        self._ids[id] = None
        if len(self._ids) > self._window:
            self._ids.popitem(last=False)
        return True
