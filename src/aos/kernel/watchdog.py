"""Names the handler that blocks the loop.

A blocked loop cannot look at itself, so this is the one place in AOS with a thread of its own. It changes nothing; it
reads where the loop's thread is and logs it. On a loop with virtual time it does not run.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import traceback
from types import CodeType, FrameType

from aos.kernel.turning import run_turn

log = logging.getLogger("aos.kernel")
_NOT_USERS = (__file__.removesuffix("kernel/watchdog.py"), asyncio.__file__.removesuffix("__init__.py"))


class Watchdog:
    """Logs a warning when the loop had no step for a while, with the turn and the line that keep it.

    Args:
        limit: Seconds without a step.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._beats = 0
        self._handle: asyncio.TimerHandle | None = None
        self._end = threading.Event()
        self._thread: threading.Thread | None = None
        self.blocked = 0
        """How often the loop was blocked."""

    def start(self) -> None:
        """Begin to watch the running loop."""
        loop = asyncio.get_running_loop()
        if hasattr(loop, "wall_time"):
            return
        self._beat(loop)
        self._end.clear()
        self._thread = threading.Thread(
            target=self._watch, args=(threading.get_ident(),), name="aos watchdog", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Watch no more."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if self._thread is not None:
            self._end.set()
            self._thread.join()
            self._thread = None

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        self._beats += 1
        self._handle = loop.call_later(self._limit / 4, self._beat, loop)

    def _watch(self, ident: int) -> None:
        seen, missed, told = self._beats, 0, False
        while not self._end.wait(self._limit / 2):
            if self._beats != seen:
                seen, missed, told = self._beats, 0, False
                continue
            missed += 1
            if missed >= 2 and not told:
                told = True
                self.blocked += 1
                frame = sys._current_frames().get(ident)  # noqa: SLF001 - the documented way to see another thread
                log.warning("the loop has had no step for %.1f s: %s", missed * self._limit / 2, describe(frame))


def describe(frame: FrameType | None) -> str:
    """Which turn a frame is in, and at which line of whose code."""
    if frame is None:
        return "its thread is gone"
    title = "no turn"
    code: CodeType = run_turn.__code__
    inner: FrameType | None = frame
    while inner is not None:
        if inner.f_code is code:
            turn = inner.f_locals.get("turn")
            title = getattr(turn, "title", title)
            break
        inner = inner.f_back
    for line in traceback.extract_stack(frame)[::-1]:
        if not line.filename.startswith(_NOT_USERS):
            return f"{title} blocks it at {line.filename}:{line.lineno} in {line.name}: {line.line}"
    return f"{title} blocks it"
