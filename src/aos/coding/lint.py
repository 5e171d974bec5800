"""ruff over a batch of sources: one process for all of them, on private copies."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sysconfig
from asyncio.subprocess import PIPE
from collections.abc import Sequence
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory

import msgspec

from aos.coding.examiner import MeasurementFailed, end
from aos.coding.metrics import Issue
from aos.coding.rules import IN_TESTS_IGNORED, SELECT, category_of, is_test, severity_of

_PREFIX = "aos-lint-"
_NEWEST = "py314"
_SYNTAX = "invalid-syntax"
_TOO_DEEP = Issue("too-deep", "ruff cannot read this: its expressions are nested too deeply", severity="error")


class _Location(msgspec.Struct):
    row: int
    column: int


class _Finding(msgspec.Struct):
    code: str | None
    message: str
    filename: str
    location: _Location | None = None


_decoder = msgspec.json.Decoder(list[_Finding])


def ruff_path() -> str:
    """Where ruff is: beside this Python, or on the search path; `MeasurementFailed` if it is nowhere."""
    beside = shutil.which("ruff", path=sysconfig.get_path("scripts"))
    if found := beside or shutil.which("ruff"):
        return found
    raise MeasurementFailed("ruff is not installed: pip install 'aos[coding]'")


def sweep(scratch: Path, *, older_than: float) -> None:
    """Remove copies that a process which was killed left behind.

    Args:
        older_than: Leave younger ones, which another process may be reading; seconds since the epoch.
    """
    for left in scratch.glob(_PREFIX + "*"):
        if left.stat().st_mtime < older_than:
            shutil.rmtree(left, ignore_errors=True)


async def lint(
    files: Sequence[tuple[str, str]], *, ruff: str, scratch: Path | None = None, patience: float = 60.0
) -> list[list[Issue] | MeasurementFailed]:
    """ruff's findings for each `(path, source)`. A file that ends ruff costs only its own answer.

    Args:
        scratch: Folder for the copies, which are gone when this returns; None is the system's.
        patience: Seconds after which a silent ruff is ended.
    """
    try:
        return list(await _lint(files, ruff, scratch, patience))
    except MeasurementFailed as error:
        if len(files) == 1:
            return [[_TOO_DEEP] if error.__cause__ is _STACK_OVERFLOW else error]
        middle = len(files) // 2
        first = await lint(files[:middle], ruff=ruff, scratch=scratch, patience=patience)
        return first + await lint(files[middle:], ruff=ruff, scratch=scratch, patience=patience)


_STACK_OVERFLOW = RecursionError("ruff overflowed its stack")


async def _lint(
    files: Sequence[tuple[str, str]], ruff: str, scratch: Path | None, patience: float
) -> list[list[Issue]]:
    with TemporaryDirectory(prefix=_PREFIX, dir=scratch) as folder:
        copies = await asyncio.to_thread(_copy, folder, files)
        findings = _decoder.decode(await _run(ruff, folder, copies, patience))
    issues: dict[str, list[Issue]] = {copy: [] for copy in copies}
    for finding in findings:
        issues[finding.filename].append(_issue(finding))
    return list(issues.values())


def _copy(folder: str, files: Sequence[tuple[str, str]]) -> list[str]:
    """Write the sources under names that mean to ruff what their own names mean."""
    top = Path(folder).resolve()
    copies = []
    for number, (path, source) in enumerate(files):
        name = "__init__.py" if PurePath(path).name == "__init__.py" else "module.py"
        copy = top / ("tests" if is_test(path) else "source") / f"n{number}" / name
        copy.parent.mkdir(parents=True)
        copy.write_bytes(source.encode())
        copies.append(str(copy))
    return copies


def _issue(finding: _Finding) -> Issue:
    place = finding.location or _Location(0, 0)
    if finding.code in (None, _SYNTAX):
        return Issue("syntax-error", finding.message, place.row, place.column, "error")
    rule = finding.code or ""
    return Issue(rule, finding.message, place.row, place.column, severity_of(rule), category_of(rule))


async def _run(ruff: str, folder: str, copies: Sequence[str], patience: float) -> bytes:
    command = [ruff, "check", "--isolated", "--no-cache", "--exit-zero", "--quiet", "--output-format", "json"]
    command += ["--target-version", _NEWEST, "--select", ",".join(SELECT)]
    command += ["--per-file-ignores", ",".join(f"tests/**:{rule}" for rule in IN_TESTS_IGNORED)]
    process = await asyncio.create_subprocess_exec(
        *command, "--", *copies, cwd=folder, stdout=PIPE, stderr=PIPE, process_group=0
    )
    try:
        async with asyncio.timeout(patience):
            output, trouble = await process.communicate()
    except TimeoutError as error:
        raise MeasurementFailed(f"ruff was silent for {patience:g} s") from error
    finally:
        await asyncio.shield(end(process))
    if process.returncode == 0:
        return output
    last = trouble.decode(errors="replace").strip().rpartition("\n")[2]
    cause = _STACK_OVERFLOW if process.returncode == -signal.SIGABRT else None
    raise MeasurementFailed(f"ruff ended with status {process.returncode}: {last}") from cause
