"""`aos stop`: ask the processes that run agents to stop, and see that they do."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from aos.cli.access import pause, processes, visited
from aos.cli.options import DEFAULT_STORE, AsJson, StoreUrl
from aos.cli.printing import counted, print_json
from aos.errors import AOSError
from aos.stores.records import Holder

_POLL = 0.05


class StillRunning(AOSError):
    """A process that was asked to stop runs on."""

    def __init__(self, left: list[Holder], timeout: float) -> None:
        pids = " ".join(str(process.pid) for process in left)
        super().__init__(
            f"still running after {timeout:g} s, their turns have not ended: wait, or end them at once with "
            f"'kill -9 {pids}', which loses nothing"
        )


def stop(
    *,
    store: StoreUrl = DEFAULT_STORE,
    timeout: Annotated[float, typer.Option(min=0.0, metavar="S", help="Seconds to wait until they are gone.")] = 30.0,
    as_json: AsJson = False,
) -> None:
    """Ask the processes that run agents to stop, and wait until they are gone."""
    asked = asyncio.run(_stop(store, timeout))
    if as_json:
        print_json({"stopped": [process.pid for process in asked]})
    elif asked:
        print(f"stopped {counted(len(asked), 'process', 'processes')}")
    else:
        print("no process runs")


async def _stop(url: str, timeout: float) -> list[Holder]:
    async with visited(url) as store:
        asked = await processes(store)
        if not asked:
            return []
        fences = {process.fence for process in asked}
        await store.request_stop(sorted(fences))
        left = asked
        try:
            async with asyncio.timeout(timeout):
                while left := [process for process in await processes(store) if process.fence in fences]:
                    await pause(_POLL)
        except TimeoutError:
            raise StillRunning(left, timeout) from None
        return asked
