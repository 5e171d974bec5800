"""The code steward: a watcher, a reviewer for each file and a steward, on one store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile

import msgspec

from aos.agents import AgentOS
from aos.clock import now
from aos.coding import events
from aos.coding.archive import Archive
from aos.coding.events import ReviewDone, Scan, Touched
from aos.coding.folder import check_folder
from aos.coding.measure import Bench
from aos.coding.report import FileRecord
from aos.coding.reviewer import Reviewer
from aos.coding.steward import Pass, Steward, StewardState
from aos.coding.watcher import Watcher, watch
from aos.errors import AOSError, InvalidInput, StoreClosed, UnknownAgent

_LOOK_EVERY = 0.1
_PATIENCE = 600.0
_LETTERS = 100_000
_TURNS = 1024


class Progress(msgspec.Struct, frozen=True):
    """How it goes.

    Args:
        current: The latest pass.
        watching: Whether the first pass is over, and changes are waited for.
        news: Reviews since the last progress, oldest first.
    """

    current: Pass
    watching: bool
    news: list[ReviewDone]


class Summary(msgspec.Struct, frozen=True):
    """How a pass ended: the pass, and what the report says of each file."""

    current: Pass
    records: list[FileRecord]


async def run_steward(
    root: Path,
    *,
    store: str,
    out: Path,
    once: bool = False,
    concurrency: int = 2,
    progress: Callable[[Progress], None] | None = None,
    passed: Callable[[Summary], None] | None = None,
) -> None:
    """Review a folder of Python source now, and again whenever it changes.

    It goes on where it was when it was ended, however it was ended.

    Args:
        root: The folder.
        store: URL of the store that remembers the reviews.
        out: Folder for the reports; it is made.
        once: Return after the first full pass; otherwise when the system is asked to stop.
        concurrency: Batches of files that are measured at a time.
        progress: Is told how it goes, about ten times a second.
        passed: Is told how the first full pass ended.

    Raises:
        InvalidInput: The folder cannot be reviewed, or the report not be written.
        AOSError: The pass could not be finished; the text says why.
    """
    root = check_folder(root)
    async with Bench(concurrency=concurrency, scratch=_make_writable(out)) as bench:
        system = AgentOS(store, max_turns=_TURNS)
        archive = Archive(system)
        await system.register(Watcher, make=partial(Watcher, root=root, known=archive.hashes))
        await system.register(Reviewer, make=partial(Reviewer, root=root, bench=bench))
        await system.register(Steward, make=partial(Steward, root=root, out=out, records=archive.records))
        async with system:
            follower = _Follower(system, progress)

            async def review_all() -> None:
                number: int = await system.ask(Watcher, Scan(), topic=events.SCAN, timeout=_PATIENCE, returns=int)
                current = await follower.follow(number)
                if passed is not None and current.finished:
                    passed(Summary(current, await archive.records()))

            if once:
                await review_all()
            else:
                await _watch(system, root, review_all, follower)


async def _watch(system: AgentOS, root: Path, review_all: Callable[[], Awaitable[None]], follower: _Follower) -> None:
    """Review all, then watch until the system is asked to stop."""

    async def touched(event: Touched) -> None:
        await system.publish(events.TOUCHED, event)

    async def follow() -> None:
        await ready.wait()
        await review_all()
        await follower.follow(None)

    ready = asyncio.Event()
    try:
        async with asyncio.TaskGroup() as group:
            # The watch is set before the first pass begins, so that no change falls between them.
            tasks = [
                group.create_task(_while_open(watch(root, touched, ready=ready))),
                group.create_task(_while_open(follow())),
            ]
            await system.run()
            for task in tasks:
                task.cancel()
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None


async def _while_open(work: Awaitable[None]) -> None:
    """Run until the store is closed: what makes the system stop is raised by the system itself."""
    with suppress(StoreClosed):
        await work


class _Follower:
    """Follows the steward's durable state, which another process may be writing."""

    def __init__(self, system: AgentOS, progress: Callable[[Progress], None] | None) -> None:
        self._system = system
        self._progress = progress
        self._seen: int | None = None
        self._began = now()
        self._state = StewardState()

    async def follow(self, number: int | None) -> Pass:
        """Tell how it goes until this pass, or a newer one, is finished; for ever without a number.

        Raises:
            AOSError: An agent gave a message up, so that the pass cannot finish.
        """
        while True:
            state = await self._look()
            if self._progress is not None:
                news = state.news - (state.news if self._seen is None else self._seen)
                latest = state.latest[-news:] if news else []
                self._progress(Progress(state.current, number is None, latest))
            self._seen = state.news
            if number is not None and state.current.number >= number:
                if state.current.finished:
                    return state.current
                await self._check()
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_EVERY):
                    await self._system.runtime.stop_asked.wait()
                    return state.current

    async def _look(self) -> StewardState:
        with suppress(UnknownAgent):
            record = await self._system.inspect(Steward)
            self._state = msgspec.convert(record.state or {}, StewardState)
        return self._state

    async def _check(self) -> None:
        counts = self._system.statistics()
        if counts.running or counts.waiting:
            return
        letters = await self._system.store.dead_letters(limit=_LETTERS)
        new = [letter for letter in letters if letter.at >= self._began]
        if new:
            raise AOSError(
                f"the pass is not complete, {len(new)} messages were given up: {new[-1].address}: {new[-1].reason}"
            )


def _make_writable(out: Path) -> Path:
    """Make the report's folder, and a hidden one in it for copies, which no watch looks into."""
    scratch = out / ".scratch"
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=scratch).close()
    except OSError as error:
        raise InvalidInput(
            f"no report can be written to {str(out)!r}: {error.strerror}: name another folder with --out"
        ) from error
    return scratch
