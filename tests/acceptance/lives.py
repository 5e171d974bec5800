"""Processes for the tests that kill: `python lives.py ROLE STORE FOLDER SEED NUMBER`.

Roles: `runner` runs the agents until it is asked to stop; `drain` runs them until nothing is left to do; `producer`
sends NUMBER messages, those first that an earlier life of it left out; `killer` forks one runner or producer after
another and kills each with SIGKILL after a random time, NUMBER times.

A process that has imported everything is forked for each life, so that a life of ten milliseconds is a life.
"""

import asyncio
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

from aos import Agent, AgentOS, Context, RetryPolicy, on

SENDERS = ("s1", "s2")
KEYS = ("a", "b", "c")


class Ledger(Agent):
    """Counts what each sender sent it, and notes everything that is out of order."""

    key = "key"
    retry = RetryPolicy(attempts=1000, base=0.01, cap=0.05)

    @on("work")
    async def work(self, event: dict[str, Any], ctx: Context) -> None:
        """Do one of several kinds of work, and count it."""
        number, sender = event["n"], event["sender"]
        kind = number % 7
        if kind == 1 and random.random() < 0.5:
            raise OSError("a bad moment")
        if kind == 2 and (got := await ctx.step("echo", _echo, number)) != number:
            ctx.state.setdefault("wrong", []).append(["step", got])
        if kind == 3 and (got := await ctx.ask(Echo, number)) != number:
            ctx.state.setdefault("wrong", []).append(["ask", got])
        if kind == 4:
            await ctx.sleep(0.02)
        last = ctx.state.setdefault("last", {})
        if number <= last.get(sender, 0):
            ctx.state.setdefault("wrong", []).append([sender, last.get(sender), number])
        last[sender] = number
        ctx.state["done"] = ctx.state.get("done", 0) + 1
        await ctx.publish("done", {"key": sender, "n": number})
        if kind == 5:
            await ctx.schedule(f"t{sender}{number}", {"key": ctx.key}, topic="ring", after=0.05)

    @on("ring")
    async def ring(self, event: Any, ctx: Context) -> None:
        """Count a timer."""
        ctx.state["rung"] = ctx.state.get("rung", 0) + 1


class Echo(Agent):
    """Answers with the question, and counts."""

    @on()
    async def echo(self, event: int, ctx: Context) -> int:
        """Answer."""
        ctx.state["asked"] = ctx.state.get("asked", 0) + 1
        return event


class Sink(Agent):
    """Counts what was done for a sender."""

    key = "key"

    @on("done")
    async def done(self, event: dict[str, Any], ctx: Context) -> None:
        """Count."""
        ctx.state["n"] = ctx.state.get("n", 0) + 1


AGENTS = (Ledger, Echo, Sink)


async def _echo(number: int) -> int:
    await asyncio.sleep(0.005)
    return number


async def run(url: str) -> None:
    """Run the agents until somebody asks to stop."""
    await AgentOS(url, AGENTS, park_for=0.05, idle_after=0.3).run()


async def drain(url: str) -> None:
    """Run the agents until no message, timer or unfinished turn is left."""
    async with AgentOS(url, AGENTS) as system:
        async with asyncio.timeout(60):
            while (now := await system.store.statistics()).pending or now.journal:  # noqa: ASYNC110 - also for retries
                await asyncio.sleep(0.05)


async def produce(url: str, folder: Path, total: int) -> None:
    """Send what is not known to be accepted, and write down what is."""
    logs = {sender: os.open(folder / sender, os.O_WRONLY | os.O_APPEND | os.O_CREAT) for sender in SENDERS}
    async with AgentOS(url) as system:
        await asyncio.gather(*(_produce_as(sender, system, log, total) for sender, log in logs.items()))


async def _produce_as(sender: str, system: AgentOS, log: int, total: int) -> None:
    for number in range(os.fstat(log).st_size + 1, total + 1):
        payload = {"key": KEYS[number % len(KEYS)], "sender": sender, "n": number}
        await system.runtime.send(payload, "work", "", sender, id=f"{sender}:{number}")
        os.write(log, b".")
        await asyncio.sleep(0.002)


def live(role: str, url: str, folder: Path, number: int) -> None:
    """Be one process of a role, to its end."""
    if role == "producer":
        asyncio.run(produce(url, folder, number))
    elif role == "drain":
        asyncio.run(drain(url))
    else:
        asyncio.run(run(url))


def kill(role: str, url: str, folder: Path, seed: int, number: int) -> None:
    """Fork and kill. What a life has to say goes into a file for each killer."""
    chance = random.Random(seed)
    total = int(os.environ.get("AOS_TEST_MESSAGES", "100000"))
    for life in range(number):
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            with (folder / f"{role}.log").open("a") as log:
                os.dup2(log.fileno(), 2)
            live(role, url, folder, total)
            os._exit(0)
        time.sleep(chance.choice([0.02, 0.1, 0.2, 0.3]) * chance.random() + (0.5 if life % 20 == 0 else 0))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    role, url, folder, seed, number = sys.argv[1:]
    if role.startswith("kill-"):
        kill(role.removeprefix("kill-"), url, Path(folder), int(seed), int(number))
    else:
        live(role, url, Path(folder), int(number))
