"""The command line called in this process, and a store with something in it."""

import asyncio
import io
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from aos import Agent, AgentOS, Context, RetryPolicy, on
from aos.cli import main


class Counter(Agent):
    @on("ticks.>")
    async def tick(self, event, ctx: Context):
        ctx.state["n"] = ctx.state.get("n", 0) + 1

    @on()
    async def total(self, event, ctx: Context):
        return ctx.state


class Customer(Agent):
    key = "who"

    @on("orders")
    async def order(self, event, ctx: Context):
        ctx.state["last"] = event


class Sleeper(Agent):
    @on("sleep")
    async def rest(self, event, ctx: Context):
        await ctx.sleep(3000)


class Broken(Agent):
    retry = RetryPolicy(attempts=1)

    @on("work")
    async def work(self, event: dict[str, int], ctx: Context):
        raise ValueError("it broke\nin \x1b[31mtwo\x1b[0m lines")


AGENTS = [Counter, Customer, Sleeper, Broken]


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, as one JSON document."""
        return msgspec.json.decode(self.out)


Command = Callable[..., Done]


@pytest.fixture
def aos(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Command]:
    """Call a command in an empty folder, with what stands on its standard input."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AOS_STORE", raising=False)
    monkeypatch.delenv("AOS_DEBUG", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def call(*arguments: str, stdin: bytes = b"") -> Done:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsys.readouterr()
        status = main(arguments)
        out, err = capsys.readouterr()
        return Done(status, out, err)

    yield call
    for name, module in list(sys.modules.items()):
        if str(tmp_path) in str(getattr(module, "__file__", "")):
            del sys.modules[name]


async def _fill(url: str, topics: dict[str, Any]) -> None:
    async with AgentOS(url, AGENTS) as system:
        for topic, payload in topics.items():
            await system.publish(topic, payload)
        await system.settle()


@pytest.fixture
def store(aos: Command) -> str:
    """`./aos.db` in which every agent was run and no message was."""
    asyncio.run(_fill("sqlite:./aos.db", {}))
    return "sqlite:./aos.db"


@pytest.fixture
def used_store(store: str) -> str:
    """`./aos.db` in which each agent had a message, and one gave two of them up."""
    topics = {"ticks.a": 1, "ticks.b": 2, "orders": {"who": "ada", "cents": 5}, "sleep": None, "work": {"a": 1}}
    asyncio.run(_fill(store, topics))
    asyncio.run(_fill(store, {"work": {"a": "text"}}))
    return store


@pytest.fixture
def run_again(store: str) -> Callable[[], None]:
    """Run what is pending in the store."""
    return lambda: asyncio.run(_fill(store, {}))
