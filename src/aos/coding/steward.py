"""The steward: counts the reviews of a pass and keeps the report up to date."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from aos.agents import Agent, Context, on
from aos.coding import events
from aos.coding.events import ReviewDone, Scan, Surveyed
from aos.coding.page import render_html
from aos.coding.report import FileRecord, render_markdown, write_atomically

MARKDOWN = "report.md"
HTML = "report.html"
_LATEST_KEPT = 20
_REPORT = "steward.report"
_AHEAD = 300
_INTERVAL = 2.0
_SHARE = 0.25
"""Of the time, what writing reports may take."""


class Pass(msgspec.Struct):
    """How far a look at every file has come.

    Args:
        number: Which; 0 is none.
        total: Files in the folder.
        unchanged: Those that needed no review.
        announced: Those that did, removed ones among them.
        done: Answers to the announced ones.
        reviewed: How many of these were a new review.
        known: How many turned out to be reviewed already, such as by a pass that was cut short.
        failed: How many could not be measured.
        odd: Files that are left out for their names.
        surveyed: Whether every file was compared.
        after: Where the next part begins that is to be compared; empty while one is.
        finished: Whether all is done.
        began: When, in seconds since the epoch.
        ended: When, in seconds since the epoch; 0 while it runs.
    """

    number: int = 0
    total: int = 0
    unchanged: int = 0
    announced: int = 0
    done: int = 0
    reviewed: int = 0
    known: int = 0
    failed: int = 0
    odd: int = 0
    surveyed: bool = False
    after: str = ""
    finished: bool = False
    began: float = 0.0
    ended: float = 0.0


class StewardState(msgspec.Struct):
    """What the steward remembers: its size does not grow with the number of files.

    Args:
        current: The latest pass.
        reviews: How many answers it ever had.
        news: How many of them were new.
        latest: The latest of them that are new, newest last.
        put_off: Whether a timer is set for the next report.
        interval: Seconds that a report is put off.
    """

    current: Pass = msgspec.field(default_factory=Pass)
    reviews: int = 0
    news: int = 0
    latest: list[ReviewDone] = []
    put_off: bool = False
    interval: float = _INTERVAL


class Steward(Agent):
    """Aggregates all reviews and writes the report, at most every two seconds and at the end of a pass.

    Args:
        root: The folder that the report is about.
        out: The folder where the report goes.
        records: Gives what the report says of each file.
    """

    purpose = "Keep a ranked report on the quality of a folder of code"
    State = StewardState

    def __init__(self, *, root: Path, out: Path, records: Callable[[], Awaitable[list[FileRecord]]]) -> None:
        self._root = root
        self._out = out
        self._records = records

    @on(events.SURVEYED)
    async def surveyed(self, event: Surveyed, ctx: Context) -> None:
        """Count what a part of a pass found."""
        state: StewardState = ctx.state
        if event.number < state.current.number:
            return
        if event.number > state.current.number:
            state.current = Pass(event.number, began=ctx.now.timestamp())
        current = state.current
        current.total = event.total
        current.odd = event.odd
        current.unchanged += event.unchanged
        current.announced += event.announced
        current.surveyed = not event.after
        current.after = event.after
        await self._finish_or_wait(ctx, news=False)

    @on(events.REVIEWED)
    async def reviewed(self, event: ReviewDone, ctx: Context) -> None:
        """Count a review, and see to it that the report will have it."""
        state: StewardState = ctx.state
        state.reviews += 1
        if event.outcome != "known":
            state.news += 1
            state.latest = [*state.latest, event][-_LATEST_KEPT:]
        if event.number and event.number == state.current.number:
            state.current.done += 1
            state.current.reviewed += event.outcome == "reviewed"
            state.current.known += event.outcome == "known"
            state.current.failed += event.outcome == "failed"
        await self._finish_or_wait(ctx, news=event.outcome != "known")

    @on(_REPORT)
    async def report(self, _: Any, ctx: Context) -> None:
        """Write the report that was put off."""
        if ctx.state.put_off:
            await self._write(ctx)

    async def _finish_or_wait(self, ctx: Context, *, news: bool) -> None:
        state: StewardState = ctx.state
        current = state.current
        if current.after and current.announced - current.done < _AHEAD:
            await ctx.publish(events.SCAN, Scan(current.number, current.after))
            current.after = ""
        if current.surveyed and not current.finished and current.done >= current.announced:
            await self._write(ctx)
            current.finished = True
            current.ended = ctx.now.timestamp()
        elif news and not state.put_off:
            state.put_off = True
            await ctx.schedule("report", None, topic=_REPORT, after=state.interval)

    async def _write(self, ctx: Context) -> None:
        took = await ctx.step("report", self._render, ctx.now.timestamp(), returns=float)
        ctx.state.interval = max(_INTERVAL, took / _SHARE)
        ctx.state.put_off = False
        await ctx.unschedule("report")

    async def _render(self, at: float) -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()
        records = await self._records()
        await asyncio.to_thread(self._write_files, records, at)
        return loop.time() - began

    def _write_files(self, records: list[FileRecord], at: float) -> None:
        self._out.mkdir(parents=True, exist_ok=True)
        write_atomically(self._out / MARKDOWN, render_markdown(records, root=str(self._root), at=at))
        write_atomically(self._out / HTML, render_html(records, root=str(self._root), at=at))
