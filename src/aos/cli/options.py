"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

DEFAULT_STORE = "sqlite:./aos.db"

StoreUrl = Annotated[
    str, typer.Option("--store", envvar="AOS_STORE", metavar="URL", help="The store: sqlite:PATH, or memory: to run.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
