"""The reviewer: one for each file, for ever."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from aos.agents import Agent, Context, on
from aos.coding import events
from aos.coding.events import FileChanged, FileRemoved, ReviewDone
from aos.coding.folder import digest, read
from aos.coding.measure import Bench, MeasurementFailed
from aos.coding.metrics import Change, CodeQualityMetrics, Issue, compare, metrics_of
from aos.coding.report import FileRecord

_LOOKS_KEPT = 20
_ISSUES_KEPT = 100
_FINDINGS_SHOWN = 20
_TRIES = 3


class Look(msgspec.Struct, frozen=True):
    """One review that was made: of which content, when, and how it came out."""

    hash: str
    at: float
    score: float
    total: int
    counts: dict[str, int] = {}


class Measured(msgspec.Struct, frozen=True):
    """What was found in a file: `hash` is of the content that was measured, empty if there was none."""

    hash: str
    metrics: CodeQualityMetrics | None = None


class FileState(msgspec.Struct):
    """What a reviewer remembers.

    Args:
        hash: The content of the latest review; empty when the next look must measure.
        removed: Whether the file is gone.
        reviews: How many reviews were made in all.
        looks: The latest of them, oldest first.
        latest: What the latest one found.
        change: How that differs from the one before.
    """

    hash: str = ""
    removed: bool = False
    reviews: int = 0
    looks: list[Look] = []
    latest: CodeQualityMetrics | None = None
    change: Change | None = None


class Reviewer(Agent):
    """Measures its file whenever the content is new, remembers how it was, and says what changed.

    Args:
        root: The folder that paths are below.
        bench: Where files are measured.
    """

    purpose = "Know how good one file is, and whether it gets better or worse"
    key = "path"
    State = FileState

    def __init__(self, *, root: Path, bench: Bench) -> None:
        self._root = root
        self._bench = bench

    @on(events.CHANGED)
    async def changed(self, event: FileChanged, ctx: Context) -> str:
        """Review the file, unless this content was the last that was reviewed."""
        state: FileState = ctx.state
        if state.hash and state.hash == event.hash:
            return await self._tell(event.number, event.path, "known", ctx)
        try:
            measured = await ctx.step("measure", self._measure, event.path, returns=Measured)
        except MeasurementFailed as error:
            if ctx.attempt < _TRIES:
                raise
            # The file must not be forgotten: the failure becomes its review, and the next pass tries again.
            issue = Issue("not-measured", str(error), severity="error")
            self._remember(Measured("", metrics_of([issue], lines=0)), ctx)
            return await self._tell(event.number, event.path, "failed", ctx)
        if measured.metrics is None:
            return await self._gone(event.number, event.path, ctx)
        if state.hash and state.hash == measured.hash:
            return await self._tell(event.number, event.path, "known", ctx)
        self._remember(measured, ctx)
        return await self._tell(event.number, event.path, "reviewed", ctx)

    @on(events.REMOVED)
    async def removed(self, event: FileRemoved, ctx: Context) -> str:
        """Remember that the file is gone; its history stays, in case it comes back."""
        return await self._gone(event.number, event.path, ctx)

    async def _measure(self, path: str) -> Measured:
        try:
            content = await asyncio.to_thread(read, self._root, path)
        except (FileNotFoundError, NotADirectoryError):
            return Measured("")
        except OSError as error:
            issue = Issue("unreadable", f"cannot be read: {error.strerror}", severity="error")
            return Measured("?", metrics_of([issue], lines=0))
        return Measured(digest(content), await self._bench.measure(path, content))

    def _remember(self, measured: Measured, ctx: Context) -> None:
        state: FileState = ctx.state
        metrics = measured.metrics
        if metrics is None:
            return
        state.change = compare(state.latest, metrics)
        state.latest = metrics.brief(_ISSUES_KEPT)
        state.hash = measured.hash
        state.removed = False
        state.reviews += 1
        look = Look(measured.hash, ctx.now.timestamp(), metrics.score, metrics.total, metrics.counts)
        state.looks = [*state.looks, look][-_LOOKS_KEPT:]

    async def _gone(self, number: int, path: str, ctx: Context) -> str:
        ctx.state.removed = True
        done = ReviewDone(path, "removed", number, text="removed", at=ctx.now.timestamp())
        await ctx.publish(events.REVIEWED, done)
        return f"{path}: removed"

    async def _tell(self, number: int, path: str, outcome: events.Outcome, ctx: Context) -> str:
        state: FileState = ctx.state
        state.removed = False
        text = "already reviewed" if outcome == "known" else state.change.text if state.change else ""
        done = ReviewDone(
            path,
            outcome,
            number,
            state.hash,
            state.latest.score if state.latest else 0.0,
            state.latest.total if state.latest else 0,
            state.change.verdict if state.change else "same",
            text,
            ctx.now.timestamp(),
        )
        await ctx.publish(events.REVIEWED, done)
        return f"{path}: {text}"


def record_of(path: str, state: FileState) -> FileRecord | None:
    """What a report says of a file; None if it is gone or was never reviewed."""
    latest = state.latest
    if latest is None or state.removed or not state.looks:
        return None
    change = state.change
    return FileRecord(
        path=path,
        score=latest.score,
        total=latest.total,
        lines=latest.lines,
        complexity=latest.complexity.highest,
        maintainability=latest.maintainability,
        counts=latest.counts,
        findings=latest.issues[:_FINDINGS_SHOWN],
        verdict=change.verdict if change else "first",
        delta=change.delta if change else 0.0,
        change=change.text if change else "",
        trend=[look.score for look in state.looks],
        reviews=state.reviews,
        reviewed_at=state.looks[-1].at,
    )
