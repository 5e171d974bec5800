"""Measuring files, concurrently and in batches."""

from __future__ import annotations

import asyncio
import importlib.util
import io
import tokenize
from asyncio import Future, Queue, TaskGroup
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from aos.clock import now
from aos.coding.examiner import Examination, Examiner, MeasurementFailed
from aos.coding.lint import lint, ruff_path, sweep
from aos.coding.metrics import CodeQualityMetrics, Complexity, Issue, Severity, metrics_of

__all__ = ["Bench", "MeasurementFailed"]

_BATCH_BYTES = 8_000_000


@dataclass(slots=True)
class _Request:
    path: str
    source: str
    answer: Future[CodeQualityMetrics]


class Bench:
    """Measures Python files with ruff, radon and vulture. Requests that come together are measured together.

    What is measured is the content that was given, never the file: the two cannot differ. Nothing is written
    beside the code.

    Args:
        concurrency: Batches at a time; each has a measuring process and a ruff of its own.
        batch: Files in a batch, at most.
        linger: Seconds that a batch waits for more files.
        size_limit: Bytes of the largest file that is measured; a larger one gets an issue that says so.
        scratch: An existing folder for the copies that ruff reads; None is the system's.
        patience: Seconds after which a tool that is silent is ended.

    Example:
        >>> async with Bench() as bench:
        ...     metrics = await bench.measure("src/a.py", b"import os")
    """

    def __init__(
        self,
        *,
        concurrency: int = 2,
        batch: int = 128,
        linger: float = 0.03,
        size_limit: int = 2_000_000,
        scratch: Path | None = None,
        patience: float = 60.0,
    ) -> None:
        self._concurrency = concurrency
        self._batch = batch
        self._linger = linger
        self._size_limit = size_limit
        self._scratch = scratch
        self._patience = patience
        self._queue: Queue[_Request] = Queue(2 * batch)
        self._collecting = asyncio.Lock()
        self._open: set[Future[CodeQualityMetrics]] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._group = TaskGroup()
        self._ruff = ""
        self._running = False

    async def __aenter__(self) -> Self:
        self._ruff = ruff_path()
        missing = [tool for tool in ("radon", "vulture") if importlib.util.find_spec(tool) is None]
        if missing:
            raise MeasurementFailed(f"{' and '.join(missing)} not installed: pip install 'aos[coding]'")
        if self._scratch is not None:
            await asyncio.to_thread(sweep, self._scratch, older_than=now() - 10 * self._patience)
        await self._group.__aenter__()
        self._running = True
        self._tasks = [self._group.create_task(self._work(), name=f"bench-{i}") for i in range(self._concurrency)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
        # The group is not told of the caller's error: it would wrap it.
        await self._group.__aexit__(None, None, None)

    async def aclose(self) -> None:
        """Stop measuring: whoever waits gets `MeasurementFailed`. The processes are gone on return."""
        self._stop()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def measure(self, path: str, content: bytes | str) -> CodeQualityMetrics:
        """Measure one file.

        Args:
            path: Its name, which tells tests and packages from modules. The file itself is not read.
            content: The source; bytes are decoded as Python does it.

        Raises:
            MeasurementFailed: A tool died over this file, or the bench is closed.
        """
        source = decode(content, self._size_limit)
        if isinstance(source, Issue):
            return metrics_of([source], lines=0)
        if not self._running:
            raise MeasurementFailed("the bench is not open: use it in `async with`")
        answer: Future[CodeQualityMetrics] = asyncio.get_running_loop().create_future()
        self._open.add(answer)
        try:
            await self._queue.put(_Request(path, source, answer))
            return await answer
        finally:
            self._open.discard(answer)

    def _stop(self) -> None:
        self._running = False
        for task in self._tasks:
            task.cancel()
        for answer in self._open:
            if not answer.done():
                answer.set_exception(MeasurementFailed("the bench was closed before this was measured"))

    async def _work(self) -> None:
        examiner = Examiner(patience=self._patience)
        try:
            while True:
                async with self._collecting:
                    batch = await self._collect()
                await self._measure(examiner, [request for request in batch if not request.answer.done()])
        finally:
            await examiner.aclose()

    async def _collect(self) -> list[_Request]:
        batch = [await self._queue.get()]
        size = len(batch[0].source)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._linger):
                while len(batch) < self._batch and size < _BATCH_BYTES:
                    batch.append(await self._queue.get())
                    size += len(batch[-1].source)
        return batch

    async def _measure(self, examiner: Examiner, batch: Sequence[_Request]) -> None:
        if not batch:
            return
        began = asyncio.get_running_loop().time()
        files = [(request.path, request.source) for request in batch]
        try:
            async with TaskGroup() as group:
                examining = group.create_task(examiner.examine(files))
                linting = group.create_task(
                    lint(files, ruff=self._ruff, scratch=self._scratch, patience=self._patience)
                )
        except ExceptionGroup as errors:
            first = errors.exceptions[0]
            for request in batch:
                _fail(request, MeasurementFailed(f"measuring failed: {first}"), first)
            return
        duration = asyncio.get_running_loop().time() - began
        for request, examined, issues in zip(batch, examining.result(), linting.result(), strict=True):
            if isinstance(examined, MeasurementFailed):
                _fail(request, examined, examined.__cause__)
            elif isinstance(issues, MeasurementFailed):
                _fail(request, issues, issues.__cause__)
            elif not request.answer.done():
                request.answer.set_result(_combine(request.source, examined, issues, duration))


def _fail(request: _Request, error: MeasurementFailed, cause: BaseException | None) -> None:
    if not request.answer.done():
        error.__cause__ = cause
        request.answer.set_exception(error)


def decode(content: bytes | str, limit: int) -> str | Issue:
    """The source as text, or the issue that says why it is none."""
    if len(content) > limit:
        return Issue("too-large", f"{len(content):,} bytes, the limit is {limit:,}: not measured", severity="error")
    try:
        if isinstance(content, bytes):
            encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
            content = content.decode(encoding)
        content.encode()
    except (SyntaxError, UnicodeError, LookupError) as error:
        return Issue("not-text", f"not text in the encoding it declares: {error}", 1, 1, "error")
    return content


def _combine(source: str, examined: Examination, issues: list[Issue], duration: float) -> CodeQualityMetrics:
    found = list(issues)
    broken = any(issue.rule in ("syntax-error", "too-deep") for issue in found)
    if examined.problem == "too deep" and not broken:
        text = "nested too deeply for complexity and dead code to be measured"
        found.append(Issue("too-deep", text, severity="error", tool="radon"))
    elif examined.problem and not broken:
        # ruff, which knows the newest syntax, has read it: only this Python cannot.
        text = f"complexity and dead code not measured by this Python ({examined.problem})"
        found.append(Issue("newer-syntax", text, severity="info", tool="radon"))
    for rule, line, message in examined.dead:
        severity: Severity = "warning" if rule == "V201" else "info"
        found.append(Issue(rule, message, line, 1, severity, "dead-code", "vulture"))
    measured = examined.complexities
    return metrics_of(
        found,
        lines=sum(1 for line in source.splitlines() if line.strip()),
        complexity=Complexity(max(measured), round(sum(measured) / len(measured), 2), len(measured))
        if measured
        else None,
        maintainability=examined.maintainability,
        duration=round(duration, 4),
    )
