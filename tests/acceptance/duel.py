"""A process for the tests with two runners: `python duel.py STORE LOG LEASE`.

Its agents write a line to LOG when they begin and when they end, with the key, the number, and this process.
"""

import asyncio
import os
import sys
from typing import Any

from aos import Agent, AgentOS, Context, on

LOG = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


class Duel(Agent):
    """Takes its time, and writes down when."""

    key = "key"

    @on("work")
    async def work(self, event: dict[str, Any], ctx: Context) -> None:
        """Begin, wait, end."""
        _write("begin", ctx.key, event["n"], ctx.cell.fence)
        await asyncio.sleep(event["seconds"])
        _write("end", ctx.key, event["n"], ctx.cell.fence)
        ctx.state.setdefault("did", []).append(event["n"])


def _write(what: str, key: str, number: int, fence: int) -> None:
    os.write(LOG, f"{what} {key} {number} {os.getpid()} {fence}\n".encode())


if __name__ == "__main__":
    asyncio.run(AgentOS(sys.argv[1], [Duel], lease=float(sys.argv[3]), stop_deadline=1).run())
