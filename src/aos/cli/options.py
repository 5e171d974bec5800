"""Options that several commands share."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

DEFAULT_STORE = "sqlite:./aos.db"

StoreUrl = Annotated[
    str, typer.Option("--store", envvar="AOS_STORE", metavar="URL", help="The store: sqlite:PATH, or memory: to run.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def store_option(url: str) -> str:
    """What to add to a command so that it works on the store of this URL."""
    return "" if url == DEFAULT_STORE else f" --store {shlex.quote(url)}"
