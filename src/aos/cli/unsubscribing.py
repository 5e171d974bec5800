"""`aos unsubscribe`: what is published no longer goes to a kind of agent that is gone."""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec
import typer

from aos.cli.access import processes, visited
from aos.cli.options import DEFAULT_STORE, AsJson, StoreUrl
from aos.cli.printing import counted, print_json
from aos.errors import InvalidInput, UnknownAgent


def unsubscribe(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="A kind of agent that no program has any more.")],
    *,
    store: StoreUrl = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Take a kind of agent off all topics. What waits for it stays; running it again subscribes it again."""
    topics = asyncio.run(_unsubscribe(store, kind))
    if as_json:
        print_json({"kind": kind, "topics": topics})
    elif topics:
        print(f"{kind} hears nothing more of {', '.join(topics)}")
    else:
        print(f"{kind} heard no topic")


async def _unsubscribe(url: str, name: str) -> list[str]:
    async with visited(url) as store:
        kinds = {kind.name: kind for kind in await store.kinds()}
        if (kind := kinds.get(name)) is None:
            raise UnknownAgent(name, tuple(kinds))
        running = [process.pid for process in await processes(store) if name in process.kinds]
        if running:
            raise InvalidInput(f"{counted(len(running), 'process', 'processes')} run {name}: stop first (aos stop)")
        await store.declare([msgspec.structs.replace(kind, patterns=())], run=False)
        return list(kind.patterns)
