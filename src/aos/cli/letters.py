"""`aos dead`: the messages that were given up, why, and what is to become of them."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from aos.cli.access import visited
from aos.cli.facts import letter_facts
from aos.cli.failure import one_line, printable
from aos.cli.options import DEFAULT_STORE, AsJson, StoreUrl
from aos.cli.printing import clock_time, counted, pretty, print_json, print_table
from aos.errors import InvalidInput
from aos.stores import DeadLetter, DurableStore

_AT_ONCE = 1000
_NAMED = 10

OfAgent = Annotated[str, typer.Option("--agent", help="Only those of this agent.")]
Numbers = Annotated[list[int] | None, typer.Argument(metavar="NUMBER...", help="As 'aos dead list' numbers them.")]
All = Annotated[bool, typer.Option("--all", help="All of them.")]

dead = typer.Typer(help="Look at dead letters, send them back or throw them away.")


@dead.command("list")
def list_letters(
    *,
    store: StoreUrl = DEFAULT_STORE,
    agent: OfAgent = "",
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="Letters to show at most.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List the messages that were given up, oldest first."""
    letters = asyncio.run(_letters(store, agent, (), limit))
    if as_json:
        print_json([letter_facts(letter) for letter in letters])
    elif letters:
        columns = ("number", "agent", "when", "attempts", "topic", "reason")
        print_table(columns, [_row(letter) for letter in letters])
    else:
        print("there are no dead letters")


@dead.command()
def show(
    number: Annotated[int, typer.Argument(help="As 'aos dead list' numbers it.")],
    *,
    store: StoreUrl = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Show a dead letter: its message, its error and where that was raised."""
    (letter,) = asyncio.run(_letters(store, "", (number,), 1))
    if as_json:
        print_json(letter_facts(letter))
        return
    message = letter.message
    print(printable(f"dead letter {letter.number} of {letter.address}, given up {clock_time(letter.at)}"))
    print(printable(f"  {one_line(letter.reason)}"))
    print(printable(f"message {message.id} from {message.source or 'outside'}, attempt {message.attempt}"))
    facts = letter_facts(letter)["message"]
    for line in (*pretty(facts["data"]).splitlines(), "", *letter.traceback.splitlines()):
        print(printable(f"  {line}").rstrip())
    print(f"aos dead redrive {letter.number} sends it back, aos dead drop {letter.number} throws it away")


@dead.command()
def redrive(
    numbers: Numbers = None,
    *,
    store: StoreUrl = DEFAULT_STORE,
    everything: All = False,
    agent: OfAgent = "",
    as_json: AsJson = False,
) -> None:
    """Put dead letters back into their mailboxes, as first attempts."""
    count = asyncio.run(_change(store, numbers, agent, everything=everything, redrive=True))
    if as_json:
        print_json({"redriven": count})
    else:
        print(f"sent {counted(count, 'message')} back")


@dead.command()
def drop(
    numbers: Numbers = None,
    *,
    store: StoreUrl = DEFAULT_STORE,
    everything: All = False,
    agent: OfAgent = "",
    as_json: AsJson = False,
) -> None:
    """Throw dead letters away."""
    count = asyncio.run(_change(store, numbers, agent, everything=everything, redrive=False))
    if as_json:
        print_json({"dropped": count})
    else:
        print(f"threw {counted(count, 'message')} away")


async def _letters(url: str, agent: str, numbers: tuple[int, ...], limit: int) -> list[DeadLetter]:
    async with visited(url) as store:
        await _check(store, numbers)
        return await store.dead_letters(address=agent, numbers=numbers, limit=limit)


async def _change(url: str, numbers: list[int] | None, agent: str, *, everything: bool, redrive: bool) -> int:
    if bool(numbers) == everything:
        raise InvalidInput("name the dead letters by their numbers, or all of them with --all")
    if numbers and agent:
        raise InvalidInput("--agent goes with --all")
    async with visited(url) as store:
        change = store.redrive if redrive else store.drop
        if numbers:
            await _check(store, tuple(numbers))
            return await change(numbers)
        # As many as there are now: what dies again while this goes on is not sent round and round.
        there, count = (await store.statistics()).dead, 0
        while count < there and (left := await store.dead_letters(address=agent, limit=min(_AT_ONCE, there - count))):
            count += await change([letter.number for letter in left])
        return count


async def _check(store: DurableStore, numbers: tuple[int, ...]) -> None:
    """Raise if one of the numbers is no dead letter's, before anything is changed."""
    if not numbers:
        return
    found = {letter.number for letter in await store.dead_letters(numbers=numbers, limit=len(numbers))}
    if missing := [number for number in numbers if number not in found]:
        there = ", ".join(str(letter.number) for letter in await store.dead_letters(limit=_NAMED)) or "none"
        raise InvalidInput(f"no dead letter has number {missing[0]} (there: {there})")


def _row(letter: DeadLetter) -> tuple[str, ...]:
    return (
        str(letter.number),
        letter.address,
        clock_time(letter.at),
        str(letter.message.attempt),
        letter.message.topic,
        one_line(letter.reason),
    )
