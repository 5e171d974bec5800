"""The watcher: finds out which files have content that nobody has reviewed."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

import msgspec

from aos.agents import Agent, Context, on
from aos.coding import events
from aos.coding.events import FileChanged, FileRemoved, Scan, Surveyed, Touched
from aos.coding.folder import IGNORE_FILE, changed, concerns, files_and_odd_names, python_files
from aos.errors import AOSError

_PART = 500


class Known(Protocol):
    """Gives the hash of the content last reviewed, by path."""

    def __call__(self, below: str = "") -> Awaitable[dict[str, str]]:
        """For every file that is not known to be gone, or for one file or all files below one folder."""


class Found(msgspec.Struct, frozen=True):
    """What a look at some files found.

    Args:
        total: Files in the whole folder.
        unchanged: Files of this part that are as they were when they were reviewed.
        different: Path and hash of each that is not; the hash is empty where the file is gone.
        odd: Files in the whole folder that are left out for their names.
        after: The last path of this part; empty if no part follows.
    """

    total: int
    odd: int
    unchanged: int
    different: list[tuple[str, str]]
    after: str


class WatcherState(msgspec.Struct):
    """`number` is the latest pass that was begun."""

    number: int = 0


@dataclass(frozen=True, slots=True)
class _Survey:
    number: int
    total: int
    odd: int
    paths: list[str]
    known: dict[str, str]


class Watcher(Agent):
    """Turns scans and changes of a folder into events for the reviewers.

    It remembers no hashes. Which content was reviewed is in the reviewers' own states, and a second copy
    could differ from it after a crash; so a scan reads those, in one go and without waking anybody.

    Args:
        root: The folder.
        known: What the reviewers know.
    """

    purpose = "See every change of a folder of Python source"
    State = WatcherState

    def __init__(self, *, root: Path, known: Known) -> None:
        self._root = root
        self._known = known
        self._survey: _Survey | None = None

    @on(events.SCAN)
    async def scan(self, event: Scan, ctx: Context) -> int:
        """Compare every file with what is known, a part at a time. Answers with the number of the pass.

        The steward asks for the next part when the reviews of this one are nearly done: a pass over any number of
        files never fills the system.
        """
        state: WatcherState = ctx.state
        if event.number and event.number != state.number:
            return state.number  # a newer pass has begun and finds all that this one would
        number = state.number = event.number or state.number + 1
        found = await ctx.step("survey", self._look, number, event.after, returns=Found)
        for path, content in found.different:
            if content:
                await ctx.publish(events.CHANGED, FileChanged(path, content, number))
            else:
                await ctx.publish(events.REMOVED, FileRemoved(path, number))
        surveyed = Surveyed(number, found.total, found.unchanged, len(found.different), found.odd, found.after)
        await ctx.publish(events.SURVEYED, surveyed)
        return number

    @on(events.TOUCHED)
    async def touched(self, event: Touched, ctx: Context) -> str:
        """Announce files that were written or removed, whole folders of them too."""
        if len(event.paths) > _PART or any(path.endswith(IGNORE_FILE) for path in event.paths):
            await ctx.send(ctx.address, Scan(), topic=events.SCAN)
            return "scanning"
        found = await ctx.step("look", self._look_at, event.paths, returns=list[tuple[str, str]])
        for path, content in found:
            if content:
                await ctx.publish(events.CHANGED, FileChanged(path, content))
            else:
                await ctx.publish(events.REMOVED, FileRemoved(path))
        return f"{len(found)} files touched"

    async def _look(self, number: int, after: str) -> Found:
        survey = self._survey
        if survey is None or survey.number != number:
            files, odd = await asyncio.to_thread(files_and_odd_names, self._root)
            known = await self._known()
            survey = self._survey = _Survey(number, len(files), odd, sorted({*files, *known}), known)
        begin = bisect_right(survey.paths, after)
        part = survey.paths[begin : begin + _PART]
        different = await asyncio.to_thread(self._compare, part, survey.known)
        more = begin + _PART < len(survey.paths)
        if not more:
            self._survey = None
        return Found(survey.total, survey.odd, len(part) - len(different), different, part[-1] if more else "")

    def _compare(self, part: Sequence[str], known: dict[str, str]) -> list[tuple[str, str]]:
        return changed(self._root, part, known)

    async def _look_at(self, paths: list[str]) -> list[tuple[str, str]]:
        there = await asyncio.to_thread(python_files, self._root, paths)
        known: dict[str, str] = {}
        for path in await asyncio.to_thread(self._missing, paths):
            known |= await self._known(path)
        return await asyncio.to_thread(self._compare, sorted({*there, *known}), known)

    def _missing(self, paths: Sequence[str]) -> list[str]:
        return [path for path in paths if not (self._root / path).exists()]


async def watch(
    root: Path,
    touched: Callable[[Touched], Awaitable[object]],
    *,
    ready: asyncio.Event | None = None,
    debounce: float = 0.2,
) -> None:
    """Tell of every change below a folder, for ever: cancel it to end it.

    Args:
        touched: Is told, and waited for.
        ready: Is set when no later change can be missed.
        debounce: Seconds for which changes are gathered at most.

    Raises:
        AOSError: The system cannot watch this folder.
    """
    from watchfiles import Change, awatch  # noqa: PLC0415 - an extra, loaded by who uses it

    def matters(change: Change, path: str) -> bool:
        below = PurePosixPath(path).relative_to(root)
        if not path.isprintable() or not concerns(below.parent):
            return False
        if below.name == IGNORE_FILE or (below.suffix == ".py" and concerns(below)):
            return True
        # A folder that comes or goes as a whole is one event for all that is in it.
        return concerns(below) and change != Change.modified and (Path(path).is_dir() or not below.suffix)

    if ready is not None:
        # The first step of the iteration sets the watches, and it is this task's present step.
        asyncio.get_running_loop().call_soon(ready.set)
    try:
        async for changes in awatch(root, watch_filter=matters, debounce=int(debounce * 1000)):
            paths = sorted({Path(path).relative_to(root).as_posix() for _, path in changes})
            await touched(Touched(paths))
    except OSError as error:
        raise AOSError(
            f"{str(root)!r} cannot be watched: {error} (Linux: raise fs.inotify.max_user_watches)"
        ) from error
