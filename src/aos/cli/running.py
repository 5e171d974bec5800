"""`aos run`: run a file of agents until somebody asks it to stop."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Annotated

import msgspec
import typer

from aos.agents import AgentOS
from aos.cli.logs import show_logs
from aos.cli.options import DEFAULT_STORE, AsJson, StoreUrl, store_option
from aos.cli.printing import counted, print_json_line
from aos.cli.program import load_agents
from aos.kernel import RuntimeStatistics
from aos.stores import Kind


def run(
    file: Annotated[str, typer.Argument(help="A file that ends in .py, or a module such as pkg.agents.")],
    *,
    store: StoreUrl = DEFAULT_STORE,
    as_json: AsJson = False,
    lease: Annotated[
        float, typer.Option(min=0.1, metavar="S", help="Seconds of silence before another process takes over.")
    ] = 10.0,
    max_turns: Annotated[int, typer.Option(min=1, metavar="N", help="Turns that run at once.")] = 256,
    verbose: Annotated[int, typer.Option("--verbose", "-v", count=True, help="Log more; -vv logs everything.")] = 0,
) -> None:
    """Run the agents in a file until Ctrl-C, SIGTERM or 'aos stop'."""
    show_logs(verbose, as_json=as_json)
    agents = load_agents(file)
    system = AgentOS(store, agents, lease=lease, max_turns=max_turns)
    asyncio.run(_run(system, store, as_json=as_json))


async def _run(system: AgentOS, url: str, *, as_json: bool) -> None:
    with _stopped_by_signals(system.request_stop) as caught:
        async with system:
            _announce(system, url, as_json=as_json)
            await system.runtime.stop_asked.wait()
            if not as_json and not caught:
                print("stopping, as 'aos stop' asked", flush=True)
        _conclude(system.statistics(), as_json=as_json)


@contextmanager
def _stopped_by_signals(request_stop: Callable[[], None]) -> Iterator[list[int]]:
    """SIGINT and SIGTERM ask for a stop, a second one ends the process at once; yields those that came.

    These are no signals of the loop, so that they work while a handler blocks it.
    """
    loop = asyncio.get_running_loop()
    caught: list[int] = []

    def act(number: int, _frame: FrameType | None) -> None:
        caught.append(number)
        if len(caught) > 1:
            os.write(2, b"quitting at once: what was unfinished is done again by the next start\n")
            os._exit(128 + number)
        os.write(2, b"stopping: waiting for the turns that run; once more quits at once\n")
        loop.call_soon_threadsafe(request_stop)

    if threading.current_thread() is not threading.main_thread():
        yield caught  # whoever started this thread has the signals
        return
    before = {number: signal.signal(number, act) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _announce(system: AgentOS, url: str, *, as_json: bool) -> None:
    kinds = [behaviour.kind for behaviour in system.runtime.behaviours.values()]
    if as_json:
        started = {"event": "started", "store": url, "pid": os.getpid(), "agents": msgspec.to_builtins(kinds)}
        print_json_line(started)
        return
    names = ", ".join(_described(kind) for kind in kinds)
    print(f"running {counted(len(kinds), 'agent')} on {url}: {names}")
    if url == "memory:":
        print("the store is this process's memory: nothing outlives it, and no other command sees it; Ctrl-C stops")
    else:
        option = store_option(url)
        print(f"from a second terminal: aos ps{option}, aos log -f{option}, aos stop{option}; Ctrl-C stops too")
    sys.stdout.flush()


def _described(kind: Kind) -> str:
    return f"{kind.name} (one for each {kind.key})" if kind.key else kind.name


def _conclude(done: RuntimeStatistics, *, as_json: bool) -> None:
    if as_json:
        print_json_line({"event": "stopped", **msgspec.to_builtins(done)})
        return
    retried = f", {done.retried:,} tried again" if done.retried else ""
    dead = f", {counted(done.dead, 'dead letter')}: see 'aos dead list'" if done.dead else ""
    print(f"stopped: {counted(done.committed, 'turn')}{retried}{dead}")
