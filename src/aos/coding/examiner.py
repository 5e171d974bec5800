"""One measuring process, started when it is first needed and started again when it has died."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Sequence
from pathlib import Path

import msgspec

from aos.errors import AOSError

_PROGRAM = Path(__file__).with_name("examine.py")
_LENGTH = 4


class MeasurementFailed(AOSError):
    """A tool died or did not answer: nothing is known of the code. Code that is wrong is an issue instead."""


async def end(process: Process) -> None:
    """Kill a process that leads its own group, with the group, and wait until it is gone."""
    if process.returncode is None:
        # Not process.kill(): Python 3.11 polls there and takes the exit status from the loop's own watcher.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


class Examination(msgspec.Struct, frozen=True):
    """What the measuring process says of one file; `aos.coding.examine` has the meaning."""

    problem: str
    complexities: list[int]
    maintainability: float | None
    dead: list[tuple[str, int, str]]


_decoder = msgspec.json.Decoder(list[Examination])


class Examiner:
    """Sends sources to a measuring process of its own, one batch at a time.

    Args:
        patience: Seconds after which a silent process is ended.
    """

    def __init__(self, *, patience: float = 60.0) -> None:
        self._patience = patience
        self._process: Process | None = None

    async def examine(self, files: Sequence[tuple[str, str]]) -> list[Examination | MeasurementFailed]:
        """One answer for each `(name, source)`. A file that kills the process twice costs its own answer."""
        try:
            return list(await self._ask(files))
        except MeasurementFailed as error:
            if len(files) > 1:
                middle = len(files) // 2
                return [*await self.examine(files[:middle]), *await self.examine(files[middle:])]
            with contextlib.suppress(MeasurementFailed):
                return list(await self._ask(files))
            return [error]

    async def aclose(self) -> None:
        """End the process, and wait until it is gone."""
        process, self._process = self._process, None
        if process is not None:
            await end(process)

    async def _ask(self, files: Sequence[tuple[str, str]]) -> list[Examination]:
        try:
            async with asyncio.timeout(self._patience):
                return _decoder.decode(await self._exchange(msgspec.json.encode(files)))
        except TimeoutError as error:
            await self.aclose()
            raise MeasurementFailed(f"the measuring process was silent for {self._patience:g} s") from error
        except (OSError, EOFError) as error:
            raise MeasurementFailed(f"the measuring process died with status {await self._died()}") from error
        except BaseException:
            # Half an answer may be in the pipe: the next batch must not read it.
            await asyncio.shield(self.aclose())
            raise

    async def _died(self) -> int | None:
        """The status of a process that closed its pipe; it is ended if it does not end by itself."""
        process, self._process = self._process, None
        if process is None:
            return None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await process.wait()
        await end(process)
        return process.returncode

    async def _exchange(self, request: bytes) -> bytes:
        process = self._process
        if process is None or process.returncode is not None:
            # A process group of its own: Ctrl-C is for us, we end it in our own time.
            process = self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", str(_PROGRAM), stdin=PIPE, stdout=PIPE, stderr=DEVNULL, process_group=0
            )
        if process.stdin is None or process.stdout is None:
            raise MeasurementFailed("the measuring process has no pipes")
        process.stdin.write(len(request).to_bytes(_LENGTH, "big") + request)
        await process.stdin.drain()
        size = int.from_bytes(await process.stdout.readexactly(_LENGTH), "big")
        return await process.stdout.readexactly(size)
