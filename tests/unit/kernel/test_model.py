"""Generated lives of a store: messages, failures, waits, crashes, freezes and takeovers, against a simple model.

The model is a list of what was accepted. Whatever happens, in the end each message has had its effect exactly once, on
the state, on other agents and on timers, in the order of its sender; or it is a dead letter, exactly once.
"""

import asyncio
import contextlib
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from aos import Agent, AgentOS, Context, on
from aos.errors import AskTimeout
from aos.resilience import RetryPolicy
from aos.stores import DurableStore, Limits
from aos.stores.memory import MemoryStore
from tests.systems import Frozen, crash, same, sqlite
from tests.virtual import VirtualLoop

PLANS = ("plain", "flaky", "slow", "step", "ask", "sleep", "wait", "timer", "poison", "fixable", "all")
KEYS, SENDERS = ("a", "b"), ("s1", "s2", "s3")


class World:
    """What agents do outside of the store, and what they must know of a test."""

    def __init__(self) -> None:
        self.fixed = False
        self.inside: Counter[str] = Counter()
        self.overlaps = 0
        self.steps: Counter[int] = Counter()

    def act(self, uid: int) -> int:
        """An outside effect."""
        self.steps[uid] += 1
        return uid


def _agents(world: World) -> list[type[Agent]]:  # noqa: C901 - each plan is a line
    class Worker(Agent):
        key = "key"
        retry = RetryPolicy(attempts=4, base=2)

        @on("work")
        async def work(self, event: dict[str, Any], ctx: Context) -> None:
            world.inside[ctx.key] += 1
            world.overlaps += world.inside[ctx.key] > 1
            try:
                await self._do(event["plan"], event["uid"], ctx)
            finally:
                world.inside[ctx.key] -= 1
            ctx.state.setdefault("done", []).append([event["sender"], event["uid"]])
            await ctx.send(Sink, event["uid"])

        async def _do(self, plan: str, uid: int, ctx: Context) -> None:
            if plan in ("step", "all"):
                assert await ctx.step("act", world.act, uid) == uid
            if plan in ("slow", "all"):
                await asyncio.sleep(3)
            if plan in ("ask", "all"):
                assert await ctx.ask(Echo, uid) == uid
            if plan in ("sleep", "all"):
                await ctx.sleep(15)
            if plan == "wait":
                with contextlib.suppress(AskTimeout):
                    await ctx.wait_for("event", timeout=60)
            if plan in ("timer", "all"):
                await ctx.schedule(f"t{uid}", {"uid": uid, "key": ctx.key}, topic="ring", after=7)
            if plan == "poison" or (plan == "fixable" and not world.fixed) or (plan == "flaky" and ctx.attempt < 3):
                raise OSError(plan)

        @on("ring")
        async def ring(self, event: dict[str, Any], ctx: Context) -> None:
            ctx.state.setdefault("rung", []).append(event["uid"])

    class Echo(Agent):
        @on()
        async def echo(self, event: int, ctx: Context) -> int:
            ctx.state.setdefault("asked", []).append(event)
            return event

    class Sink(Agent):
        @on()
        async def sink(self, event: int, ctx: Context) -> None:
            ctx.state.setdefault("got", []).append(event)

    return [Worker, Echo, Sink]


class Lives(RuleBasedStateMachine):
    """Up to three systems on one store."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        self.world = World()
        self.systems: list[AgentOS] = []
        self.frozen: dict[int, Frozen] = {}
        self.froze = False
        self.accepted: list[tuple[str, str, str, int]] = []
        self.store = self.make()

    def make(self) -> DurableStore:
        """The store of this life."""
        return MemoryStore()

    def do(self, doing: Any) -> Any:
        """Run something in virtual time."""
        return self.loop.run_until_complete(doing)

    def awake(self) -> list[AgentOS]:
        """Systems that are not frozen."""
        return [system for system in self.systems if id(system) not in self.frozen]

    @initialize()
    def begin(self) -> None:
        """Start the first system."""
        self.start()

    @precondition(lambda self: len(self.systems) < 3)
    @rule()
    def start(self) -> None:
        """One more process."""
        system = AgentOS(
            same(self.store), _agents(self.world), lease=10, park_for=4, idle_after=12, stop_deadline=2, max_turns=8
        )
        self.do(system.start())
        self.systems.append(system)

    @precondition(lambda self: self.awake())
    @rule(
        which=st.integers(0, 2),
        sender=st.sampled_from(SENDERS),
        messages=st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from(PLANS)), min_size=1, max_size=5),
    )
    def publish(self, which: int, sender: str, messages: list[tuple[str, str]]) -> None:
        """A sender sends some messages."""
        awake = self.awake()
        runtime = awake[which % len(awake)].runtime
        for key, plan in messages:
            uid = len(self.accepted)
            payload = {"key": key, "plan": plan, "uid": uid, "sender": sender}
            assert self.do(runtime.send(payload, "work", "", sender)) == 1
            self.accepted.append((sender, key, plan, uid))

    @precondition(lambda self: self.awake())
    @rule()
    def event(self) -> None:
        """Something happens that turns may wait for."""
        self.do(self.awake()[0].publish("event", {}))

    @rule(seconds=st.sampled_from([0, 0.01, 0.5, 2, 5, 11, 30]))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.do(asyncio.sleep(seconds))

    @precondition(lambda self: self.awake())
    @rule(which=st.integers(0, 2))
    def kill(self, which: int) -> None:
        """A process dies."""
        awake = self.awake()
        victim = awake[which % len(awake)]
        self.do(crash(victim))
        self.systems.remove(victim)

    @precondition(lambda self: self.awake())
    @rule(which=st.integers(0, 2))
    def stop(self, which: int) -> None:
        """A process is stopped in good order."""
        awake = self.awake()
        leaving = awake[which % len(awake)]
        self.do(leaving.stop())
        self.systems.remove(leaving)

    @precondition(lambda self: len(self.awake()) > 1)
    @rule(which=st.integers(0, 2))
    def freeze(self, which: int) -> None:
        """A process stops in the middle of whatever it does."""
        awake = self.awake()
        system = awake[which % len(awake)]
        self.froze = True
        self.frozen[id(system)] = Frozen(system)

    @precondition(lambda self: self.frozen)
    @rule()
    def thaw(self) -> None:
        """It goes on as if nothing had been."""
        self.frozen.popitem()[1].thaw()

    @precondition(lambda self: self.awake())
    @rule()
    def redrive(self) -> None:
        """Somebody mends what can be mended, and sends the dead letters back."""
        self.world.fixed = True
        store = self.awake()[0].store
        letters = self.do(store.dead_letters(limit=10_000))
        assert self.do(store.redrive([letter.number for letter in letters])) == len(letters)

    @invariant()
    def nothing_failed(self) -> None:
        """No system has failed, and no agent ran twice at once."""
        assert [system.runtime.failure for system in self.systems] == [None] * len(self.systems)
        assert self.froze or self.world.overlaps == 0

    def teardown(self) -> None:
        """Let everything end, and compare."""
        try:
            self._end()
        finally:
            self.clean()
            self.loop.close()

    def clean(self) -> None:
        """Take the store away."""

    def _end(self) -> None:
        while self.frozen:
            self.thaw()
        if not self.systems:
            self.start()
        self.do(asyncio.sleep(100 + 90 * len(self.accepted)))
        store = self.systems[0].store
        found = {record.address: record for record in self.do(store.agents())}
        state = {address: record.state or {} for address, record in found.items()}
        letters = self.do(store.dead_letters(limit=10_000))
        # An event that came while another one ended the wait has no handler: that is a dead letter too.
        dead = [letter.message.payload()["uid"] for letter in letters if letter.message.type == "work"]
        statistics = self.do(store.statistics())
        for system in self.systems:
            self.do(system.stop())
        assert not asyncio.all_tasks(self.loop)
        self._compare(state, dead)
        assert (statistics.journal, statistics.pending) == (0, 0)

    def _compare(self, state: dict[str, Any], dead: list[int]) -> None:
        poisoned = [uid for _, _, plan, uid in self.accepted if plan == "poison"]
        fixable = [uid for _, _, plan, uid in self.accepted if plan == "fixable"]
        assert len(set(dead)) == len(dead)
        assert set(poisoned) <= set(dead) <= {*poisoned, *fixable}
        good = [entry for entry in self.accepted if entry[3] not in dead]
        for key in KEYS:
            mine = state.get(f"Worker/{key}", {})
            done = mine.get("done", [])
            assert sorted(uid for _, uid in done) == [uid for _, k, _, uid in good if k == key]
            for sender in SENDERS:
                order = [uid for who, uid in done if who == sender and uid not in fixable]
                assert order == sorted(order)
            rings = [uid for _, k, plan, uid in good if k == key and plan in ("timer", "all")]
            assert sorted(mine.get("rung", [])) == rings
        assert sorted(state.get("Sink", {}).get("got", [])) == [uid for *_, uid in good]
        asked = [uid for *_, plan, uid in good if plan in ("ask", "all")]
        assert sorted(state.get("Echo", {}).get("asked", [])) == asked
        assert set(self.world.steps) >= {uid for *_, plan, uid in good if plan in ("step", "all")}


class SqliteLives(Lives):
    """The same over files, where a mailbox hands out three messages ahead."""

    def make(self) -> DurableStore:
        """A file in a folder of its own."""
        self.folder = Path(tempfile.mkdtemp(prefix="aos-lives-"))
        return sqlite(self.folder / "aos.db", Limits(window=3))

    def clean(self) -> None:
        """Take the folder away."""
        shutil.rmtree(self.folder)


QUICK = settings(stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck))

TestLivesInMemory = Lives.TestCase
TestLivesInMemory.settings = settings(QUICK, max_examples=60)
TestLivesInSqlite = SqliteLives.TestCase
TestLivesInSqlite.settings = settings(QUICK, max_examples=12)


@pytest.mark.soak
@pytest.mark.parametrize(("lives", "examples"), [(Lives, 5000), (SqliteLives, 500)])
def test_many_lives(lives: type[Lives], examples: int):
    """The same for as long as one cares to run it."""
    run_state_machine_as_test(lives, settings=settings(QUICK, max_examples=examples))
