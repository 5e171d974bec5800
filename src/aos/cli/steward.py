"""`aos steward`: review a folder of Python source, now and again whenever it changes."""

from __future__ import annotations

import asyncio
import hashlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from aos.cli.steward_lines import Display, JsonLines, Lines
from aos.coding.folder import check_folder
from aos.coding.team import run_steward
from aos.errors import InvalidInput


def steward(
    root: Annotated[Path, typer.Argument(help="The folder of Python source to review.")] = Path(),
    *,
    once: Annotated[bool, typer.Option("--once", help="End after the first full pass.")] = False,
    store: Annotated[str, typer.Option(help="Where reviews are remembered: sqlite:PATH or memory:")] = "",
    out: Annotated[Path | None, typer.Option(help="Folder for report.md and report.html.")] = None,
    jobs: Annotated[int, typer.Option(min=1, max=64, help="Batches of files measured at a time.")] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, a line for each thing.")] = False,
) -> None:
    """Review a folder of Python source, now and again whenever it changes, and keep a ranked report."""
    check_folder(root)
    place = home_of(root)
    out = out or place
    if not store:
        _make_home(place)
        store = f"sqlite:{place / 'aos.db'}"
    display: Display
    if as_json:
        display = JsonLines(root, out)
    elif sys.stdout.isatty():
        from aos.cli.steward_screen import Screen  # noqa: PLC0415 - rich is loaded only for a terminal

        display = Screen(root, out)
    else:
        display = Lines(out)
    with display:
        asyncio.run(
            run_steward(
                root,
                store=store,
                out=out,
                once=once,
                concurrency=jobs,
                progress=display.show,
                passed=display.passed,
            )
        )


def home_of(root: Path) -> Path:
    """Where the reviews of a folder are kept by default, below the folder that the command is called in."""
    whole = str(root.resolve())
    return Path(".aos", "steward", f"{Path(whole).name}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}")


def _make_home(place: Path) -> None:
    try:
        place.mkdir(parents=True, exist_ok=True)
        ignore = place.parents[1] / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n", encoding="utf-8")
    except OSError as error:
        raise InvalidInput(
            f"{str(place)!r} cannot be made: {error.strerror}: call this in another folder, "
            "or name a store with --store and a folder with --out"
        ) from error
