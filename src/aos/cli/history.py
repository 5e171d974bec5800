"""`aos log`: the history of turns, and what is added to it."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from aos.cli.access import check_address, pause, visited
from aos.cli.options import DEFAULT_STORE, AsJson, StoreUrl
from aos.cli.printing import print_json, print_json_line, turn_line
from aos.stores import DurableStore, TurnRecord

_POLL = 0.1
_AT_ONCE = 1000


def log(
    *,
    store: StoreUrl = DEFAULT_STORE,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is added, until Ctrl-C.")] = False,
    agent: Annotated[str, typer.Option(help="Only the turns of this agent.")] = "",
    number: Annotated[int, typer.Option("--number", "-n", min=0, metavar="N", help="Turns to begin with.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show the latest turns, oldest first."""
    asyncio.run(_log(store, agent, number, follow=follow, as_json=as_json))


async def _log(url: str, agent: str, number: int, *, follow: bool, as_json: bool) -> None:
    async with visited(url) as store:
        if agent and await store.agent(agent) is None:
            check_address(agent, {kind.name: kind for kind in await store.kinds()})
        turns = await store.turns(address=agent, limit=max(number, 1))
        shown = turns if number else []
        if as_json and not follow:
            print_json(shown)
            return
        _print_turns(shown, as_json=as_json)
        if follow:
            await _follow(store, agent, turns[-1].number if turns else 0, as_json=as_json)
        elif not shown:
            print("no turns yet")


async def _follow(store: DurableStore, agent: str, after: int, *, as_json: bool) -> None:
    while True:
        turns = await store.turns(address=agent, after=after, limit=_AT_ONCE)
        if turns:
            after = turns[-1].number
            _print_turns(turns, as_json=as_json)
        else:
            await pause(_POLL)


def _print_turns(turns: list[TurnRecord], *, as_json: bool) -> None:
    for turn in turns:
        if as_json:
            print_json_line(turn)
        else:
            print(turn_line(turn), flush=True)
