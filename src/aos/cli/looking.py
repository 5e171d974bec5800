"""`aos ps` and `aos inspect`: what agents there are, and all about one."""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec
import typer

from aos.cli.access import check_address, processes, visited
from aos.cli.facts import Facts, agent_facts, letter_facts, message_facts
from aos.cli.failure import one_line, printable
from aos.cli.options import DEFAULT_STORE, AsJson, StoreUrl
from aos.cli.printing import clock_time, counted, distance, pretty, print_json, print_table, turn_line
from aos.clock import now
from aos.errors import UnknownAgent
from aos.stores import AgentRecord, DurableStore, Kind, TurnRecord
from aos.stores.records import SINGLE, Holder, StoreStatistics, silent_agent

_LATEST = 10


class Overview(msgspec.Struct):
    """What `aos ps` shows.

    Args:
        agents: Agents by their addresses.
        more: Whether there are more than were asked for.
        kinds: All kinds of agent.
        processes: Those that run.
        statistics: How much is in the store.
    """

    agents: list[Facts]
    more: bool
    kinds: list[Kind]
    processes: list[Holder]
    statistics: StoreStatistics


class Portrait(msgspec.Struct):
    """What `aos inspect` shows.

    Args:
        agent: The agent with its state and its purpose.
        pending: Messages and timers that wait for it, the first ones.
        turns: Its latest turns.
        dead: Its dead letters, the first ones.
    """

    agent: Facts
    pending: list[Facts]
    turns: list[TurnRecord]
    dead: list[Facts]


def ps(
    *,
    store: StoreUrl = DEFAULT_STORE,
    kind: Annotated[str, typer.Option(help="Only agents of this kind.")] = "",
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="Agents to show at most.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List the agents, and the processes that run them."""
    overview = asyncio.run(_overview(store, kind, limit))
    if as_json:
        print_json(overview)
    else:
        _print_overview(overview)


def inspect(
    agent: Annotated[str, typer.Argument(metavar="AGENT", help="An agent as 'aos ps' names it.")],
    *,
    store: StoreUrl = DEFAULT_STORE,
    key: Annotated[str, typer.Option(help="Which one, of an agent that there is one of for each key.")] = "",
    as_json: AsJson = False,
) -> None:
    """Show an agent: its state, what waits for it, what it did last."""
    portrait = asyncio.run(_portrait(store, f"{agent}/{key}" if key else agent))
    if as_json:
        print_json(portrait)
    else:
        _print_portrait(portrait)


async def _overview(url: str, kind: str, limit: int) -> Overview:
    async with visited(url) as store:
        kinds = {known.name: known for known in await store.kinds()}
        if kind and kind not in kinds:
            raise UnknownAgent(kind, tuple(kinds))
        records = await store.agents(kind=kind, limit=limit + 1)
        shown = {record.address: record for record in records[:limit]}
        more = len(records) > limit
        if not more:
            for known in kinds.values():
                if known.key == SINGLE and kind in ("", known.name) and known.name not in shown:
                    shown[known.name] = silent_agent(known.name)
        live = await processes(store)
        fences = {process.fence for process in live}
        return Overview(
            agents=[agent_facts(shown[address], fences) for address in sorted(shown)],
            more=more,
            kinds=list(kinds.values()),
            processes=live,
            statistics=await store.statistics(),
        )


def _print_overview(overview: Overview) -> None:
    if overview.agents:
        columns = ("agent", "life", "turns", "pending", "dead", "last turn", "last error")
        print_table(columns, [_row(agent) for agent in overview.agents])
    else:
        print("there are no agents yet")
    if overview.more:
        in_all = counted(overview.statistics.agents, "agent")
        print(f"… there are {in_all} in all: raise --limit, or name a --kind")
    for process in overview.processes:
        stopping = ", and was asked to stop" if process.stopping else ""
        kinds = ", ".join(process.kinds)
        print(f"process {process.pid} runs {kinds}, since {clock_time(process.started)}{stopping}")
    run = {name for process in overview.processes for name in process.kinds}
    idle = [kind.name for kind in overview.kinds if kind.patterns and kind.name not in run]
    if overview.processes and idle:
        print(
            f"nothing runs {', '.join(idle)}: messages gather there until it does, or until 'aos unsubscribe {idle[0]}'"
        )
    if not overview.processes:
        print("no process runs: what is pending is handled after the next 'aos run'")


def _row(agent: Facts) -> tuple[str, ...]:
    last = agent["last_turn_at"]
    return (
        agent["address"],
        f"suspended: {agent['waiting_for']}" if agent["waiting_for"] else agent["life"],
        f"{agent['turns']:,}",
        f"{agent['pending']:,}",
        f"{agent['dead']:,}",
        "" if last is None else distance(last),
        one_line(agent["last_error"]),
    )


async def _portrait(url: str, address: str) -> Portrait:
    async with visited(url) as store:
        record = await _record(store, address)
        fences = {process.fence for process in await processes(store)}
        purpose = next((kind.purpose for kind in await store.kinds() if kind.name == record.kind), "")
        return Portrait(
            agent={**agent_facts(record, fences), "state": record.state, "purpose": purpose},
            pending=[message_facts(message) for message in await store.pending(address)],
            turns=await store.turns(address=address, limit=_LATEST),
            dead=[letter_facts(letter) for letter in await store.dead_letters(address=address)],
        )


async def _record(store: DurableStore, address: str) -> AgentRecord:
    record = await store.agent(address)
    if record is not None:
        return record
    kinds = {kind.name: kind for kind in await store.kinds()}
    kind = check_address(address, kinds)
    if kind.key == SINGLE:
        return silent_agent(address)
    there = tuple(record.address for record in await store.agents(kind=kind.name, limit=5))
    raise UnknownAgent(address, there or (f"no {kind.name} yet",))


def _print_portrait(portrait: Portrait) -> None:
    agent = portrait.agent
    last = agent["last_turn_at"]
    heading = f"{agent['address']}  {agent['life']}, {counted(agent['turns'], 'turn')}"
    print(printable(heading if last is None else f"{heading}, the last {distance(last)}"))
    if agent["purpose"]:
        print(printable(agent["purpose"]))
    if agent["waiting_for"]:
        print(printable(f"waits for {agent['waiting_for']}"))
    if agent["state"] is None:
        print("no state")
    else:
        print(f"state, version {agent['schema']}:")
        for line in pretty(agent["state"]).splitlines():
            print(f"  {printable(line)}")
    _print_section("pending", agent["pending"], [_pending_line(message) for message in portrait.pending])
    _print_section("latest turns", len(portrait.turns), [turn_line(turn) for turn in portrait.turns])
    letters = [f"{d['number']}  {clock_time(d['at'])}  {one_line(d['reason'])}" for d in portrait.dead]
    _print_section("dead letters", agent["dead"], letters)


def _print_section(title: str, count: int, lines: list[str]) -> None:
    if not lines:
        return
    print(f"{title}:")
    for line in lines:
        print(f"  {printable(line)}")
    if count > len(lines):
        print(f"  … and {count - len(lines):,} more")


def _pending_line(message: Facts) -> str:
    what = f"timer {message['name']}" if message.get("name") else message.get("type") or "direct"
    due, attempt = message.get("not_before", 0.0), message["attempt"]
    parts = [what, "due " + distance(due) if due > now() else "due now"]
    if repeat := message.get("repeat"):
        parts.append(f"again {repeat}")
    if attempt > 1:
        parts.append(f"attempt {attempt}")
    parts.append(msgspec.json.encode(message["data"]).decode()[:200])
    return "  ".join(parts)
