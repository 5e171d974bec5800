"""What is bounded: memory, concurrency, mailboxes, time; and what is told about it."""

import asyncio
from typing import Any

import pytest

from aos import Agent, AgentOS, Context, on
from aos.errors import InvalidTopic, MailboxFull, PayloadTooLarge, UnknownAgent
from aos.kernel.runtime import TURNS_AT_ONCE
from aos.resilience import RetryPolicy
from aos.stores import Limits
from aos.stores.memory import MemoryStore

ONCE = RetryPolicy(attempts=1)


class Keyed(Agent):
    key = "id"

    @on("hit")
    async def hit(self, event: dict[str, Any], ctx: Context) -> None:
        await asyncio.sleep(event.get("wait", 0))
        ctx.state["n"] = ctx.state.get("n", 0) + 1
        if "timer" in event:
            await ctx.schedule("t", after=event["timer"], topic="hit", payload={"id": ctx.key})


async def test_an_idle_agent_leaves_memory_and_wakes_with_its_state(store):
    """After `idle_after` there is nothing of it in memory; the next message finds it as it was."""
    async with AgentOS(store, [Keyed], idle_after=10) as system:
        for i in range(200):
            await system.publish("hit", {"id": i})
        await system.settle()
        assert system.statistics().active == 200
        await asyncio.sleep(30)
        assert system.statistics().active == 0
        await system.publish("hit", {"id": 7})
        await system.settle()
        assert (await system.inspect(Keyed, 7)).state == {"n": 2}


async def test_nothing_of_a_hibernated_agent_is_kept_for_its_timer():
    """An agent that sleeps until a far timer is not held by it, and still comes at its time."""
    store = MemoryStore()
    async with AgentOS(store, [Keyed], idle_after=10) as system:
        await system.publish("hit", {"id": 1, "timer": 3600})
        await system.settle()
        entry = system.runtime.cells["Keyed/1"].alarm
        assert entry is not None
        await asyncio.sleep(60)
        assert system.statistics().active == 0
        assert entry[2] is None
        await asyncio.sleep(3600)
        assert (await system.inspect(Keyed, 1)).state == {"n": 2}


async def test_the_hooks_of_an_agent_are_called(store):
    """activate before the first message, hibernate before it leaves; each time with a new object."""
    calls: list[str] = []

    class Hooked(Agent):
        async def activate(self, ctx: Context) -> None:
            calls.append("activate")
            self.number = len(calls)
            ctx.state["woken"] = ctx.state.get("woken", 0) + 1

        async def hibernate(self) -> None:
            calls.append(f"hibernate {self.number}")

        @on("go")
        async def go(self, event: Any, ctx: Context) -> None:
            calls.append("go")

    async with AgentOS(store, [Hooked], idle_after=10) as system:
        for _ in range(2):
            await system.publish("go", {})
            await system.publish("go", {})
            await asyncio.sleep(30)
        assert calls == ["activate", "go", "go", "hibernate 1", "activate", "go", "go", "hibernate 5"]
        assert (await system.inspect(Hooked)).state == {"woken": 2}
        await system.publish("go", {})
        await system.settle()
    assert calls[-3:] == ["activate", "go", "hibernate 9"]


async def test_a_poison_message_stays_while_there_is_no_room_for_its_letter():
    """It is neither lost nor counted as tried again, and once there is room it is a dead letter."""

    class Poisoned(Agent):
        retry = RetryPolicy(attempts=1)

        @on("go")
        async def go(self, event: Any, ctx: Context) -> None:
            if event == "poison":
                raise ValueError(event)

    async with AgentOS("memory:", [Poisoned], limits=Limits(dead=1)) as system:
        for _ in range(2):
            await system.publish("go", "poison")
        await asyncio.sleep(3600)
        (letter,) = await system.store.dead_letters()
        (message,) = await system.store.pending("Poisoned")
        assert (message.payload(), message.attempt) == ("poison", 1)
        await system.store.drop([letter.number])
        await asyncio.sleep(60)
        assert await system.store.pending("Poisoned") == []
        assert system.statistics().dead == 2


async def test_an_agent_that_never_had_a_message_is_known(store):
    """A single agent is there from its registration on; a keyed one from its first message on."""

    class Single(Agent):
        @on("go")
        async def go(self, event: Any, ctx: Context) -> None:
            pass

    class Many(Single):
        key = "id"

    async with AgentOS(store, [Single, Many]) as system:
        assert (await system.inspect(Single)).turns == 0
        with pytest.raises(UnknownAgent):
            await system.inspect(Many, 1)
        with pytest.raises(UnknownAgent):
            await system.inspect("Nobody")


async def test_what_activate_staged_is_not_lost_with_a_failed_turn(store):
    """A turn that failed after activation activates anew, so that its effects are committed with a turn."""

    class Fragile(Agent):
        retry = RetryPolicy(base=1)

        async def activate(self, ctx: Context) -> None:
            ctx.state["activated"] = ctx.state.get("activated", 0) + 1
            await ctx.schedule("t", after=100, topic="go")

        @on("go")
        async def go(self, event: Any, ctx: Context) -> None:
            if ctx.attempt == 1:
                raise OSError

    async with AgentOS(store, [Fragile]) as system:
        await system.publish("go", {})
        await asyncio.sleep(10)
        assert (await system.inspect(Fragile)).state == {"activated": 1}
        assert [message.name for message in await store.pending("Fragile")] == ["t"]


@pytest.mark.parametrize("hook", ["raises", "hangs"])
async def test_a_bad_hibernate_hook_harms_nobody(store, hook):
    """It is logged, the agent leaves, and the lease is kept."""

    class Bad(Agent):
        async def hibernate(self) -> None:
            if hook == "raises":
                raise ValueError
            await asyncio.get_running_loop().create_future()

        @on("go")
        async def go(self, event: Any, ctx: Context) -> None: ...

    async with AgentOS(store, [Bad, Keyed], idle_after=10) as system:
        await system.publish("go", {})
        await asyncio.sleep(60)
        assert system.statistics().active == 0
        await system.publish("hit", {"id": 1})
        await system.settle()
        assert (await system.inspect(Keyed, 1)).state == {"n": 1}
        assert len(await store.holders()) == 1


async def test_max_turns_bounds_what_runs_at_once(store):
    """A hundred agents with work run ten at a time, and all of them in the end."""
    running = most = 0

    class Busy(Agent):
        key = "id"

        @on("go")
        async def go(self, event: Any, ctx: Context) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(1)
            running -= 1

    async with AgentOS(store, [Busy], max_turns=10) as system:
        for i in range(100):
            await system.publish("go", {"id": i})
        await system.settle()
        assert system.statistics().committed == 100
    assert most == 10
    assert 10 <= asyncio.get_running_loop().time() <= 12


async def test_suspended_turns_do_not_count_as_running(store):
    """A hundred agents that wait leave room for others to work."""

    class Waits(Agent):
        key = "id"

        @on("wait")
        async def wait(self, event: Any, ctx: Context) -> None:
            ctx.state["got"] = await ctx.wait_for("event")

    async with AgentOS(store, [Waits, Keyed], max_turns=2) as system:
        for i in range(100):
            await system.publish("wait", {"id": i})
        await system.publish("hit", {"id": 1})
        await system.settle()
        assert (await system.inspect(Keyed, 1)).state == {"n": 1}
        assert await system.publish("event", 1) == 100
        await system.settle()
        assert system.statistics().committed == 101


async def test_max_active_bounds_what_is_in_memory(store):
    """More agents than may be in memory all have their turn, soon, and never more are there at once."""
    async with AgentOS(store, [Keyed], max_active=20) as system:
        most = 0
        for i in range(200):
            await system.publish("hit", {"id": i})
            most = max(most, system.statistics().active)
        for _ in range(60):
            await asyncio.sleep(1)
            most = max(most, system.statistics().active)
        assert most <= 20
        assert system.statistics().committed == 200


async def test_a_full_mailbox_slows_its_senders_down(store):
    """A publisher waits for room, loses nothing, and gets MailboxFull when there is none for too long."""

    class Slow(Agent):
        mailbox_limit = 5

        @on("go")
        async def go(self, event: float, ctx: Context) -> None:
            await asyncio.sleep(event)
            ctx.state["n"] = ctx.state.get("n", 0) + 1

    async with AgentOS(store, [Slow]) as system:
        for _ in range(50):
            await system.publish("go", 1)
        assert (await system.inspect(Slow)).pending <= 5
        assert asyncio.get_running_loop().time() >= 44
        await system.settle()
        assert (await system.inspect(Slow)).state == {"n": 50}
        for _ in range(5):
            await system.publish("go", 250)
        began = asyncio.get_running_loop().time()
        with pytest.raises(MailboxFull, match="limit of 5"):
            await system.publish("go", 1)
        assert asyncio.get_running_loop().time() - began == pytest.approx(30, abs=1)
    assert (await _pending(store, "Slow")) == 5


async def _pending(store: Any, address: str) -> int:
    from tests.systems import same

    reader = same(store)
    await reader.open()
    found = len(await reader.pending(address))
    await reader.close()
    return found


async def test_a_turn_that_sends_to_a_full_mailbox_waits_and_counts_once(store):
    """Its commit is taken when there is room; its handler's state is not counted twice."""

    class Slow(Agent):
        mailbox_limit = 2
        timeout = None

        @on("slow")
        async def slow(self, event: Any, ctx: Context) -> None:
            await asyncio.sleep(20)
            ctx.state["n"] = ctx.state.get("n", 0) + 1

    class Feeder(Agent):
        @on("feed")
        async def feed(self, event: Any, ctx: Context) -> None:
            ctx.state["fed"] = ctx.state.get("fed", 0) + 1
            await ctx.publish("slow", {})

    async with AgentOS(store, [Slow, Feeder]) as system:
        for _ in range(6):
            await system.publish("feed", {})
        await asyncio.sleep(600)
        assert (await system.inspect(Slow)).state == {"n": 6}
        assert (await system.inspect(Feeder)).state == {"fed": 6}
        assert await store.dead_letters() == []


async def test_an_agent_with_a_full_mailbox_can_write_to_itself(store):
    """The message it handles makes room for the one it sends itself."""

    class Loop(Agent):
        mailbox_limit = 3

        @on("loop")
        async def loop(self, event: int, ctx: Context) -> None:
            ctx.state["n"] = ctx.state.get("n", 0) + 1
            if event:
                await ctx.publish("loop", event - 1)

    async with AgentOS(store, [Loop]) as system:
        for _ in range(3):
            await system.publish("loop", 5)
        await asyncio.sleep(100)
        assert (await system.inspect(Loop)).state == {"n": 18}


async def test_a_message_id_is_accepted_once(store):
    """A second message of the same id reaches nobody, also when it is to another topic."""
    async with AgentOS(store, [Keyed]) as system:
        assert await system.publish("hit", {"id": 1}, id="m1") == 1
        assert await system.publish("hit", {"id": 1}, id="m1") == 0
        assert await system.publish("hit", {"id": 1}, id="m2") == 1
        await system.settle()
        assert (await system.inspect(Keyed, 1)).state == {"n": 2}


async def test_a_payload_over_the_limit_is_refused_where_it_is_sent(store):
    """From outside it raises; from a handler it fails the turn; nothing was sent."""

    class Big(Agent):
        retry = ONCE

        @on("big")
        async def big(self, event: int, ctx: Context) -> Any:
            await ctx.publish("hit", {"id": "x", "data": "x" * event})

    async with AgentOS(store, [Big, Keyed], payload_limit=10_000) as system:
        with pytest.raises(PayloadTooLarge, match="limit is 10,000"):
            await system.publish("hit", {"id": "x", "data": "x" * 10_000})
        await system.publish("big", 10_000)
        await system.publish("big", 100)
        await system.settle()
        assert [letter.error_type for letter in await store.dead_letters()] == ["PayloadTooLarge"]
        assert (await system.inspect(Keyed, "x")).state == {"n": 1}


@pytest.mark.parametrize("topic", ["", "a..b", "a b", "a.*", "a.>", ".a", "a.", "a\n", "aos.x", "x" * 300, "\ud800"])
async def test_an_illegal_topic_is_refused(store, topic):
    """A topic that nobody may publish on raises InvalidTopic, from outside and in a handler."""

    class Bad(Agent):
        retry = ONCE

        @on("go")
        async def go(self, event: Any, ctx: Context) -> None:
            await ctx.publish(topic, {})

    async with AgentOS(store, [Bad]) as system:
        with pytest.raises(InvalidTopic):
            await system.publish(topic, {})
        await system.publish("go", {})
        await system.settle()
        assert [letter.error_type for letter in await store.dead_letters()] == ["InvalidTopic"]


async def test_an_unheard_topic_reaches_nobody(store):
    """That is no error: publish says 0."""
    async with AgentOS(store, [Keyed]) as system:
        assert await system.publish("nobody.hears.this", {}) == 0


async def test_statistics_tell_what_was_done_and_what_is_held(store):
    """Each count is what it says."""

    class Mixed(Agent):
        key = "id"
        retry = RetryPolicy(attempts=2, base=1000)

        @on("mix")
        async def mix(self, event: dict[str, Any], ctx: Context) -> None:
            if event["id"] == "fail":
                raise OSError
            if event["id"] == "wait":
                await ctx.sleep(1000)
            if event["id"] == "run":
                await asyncio.sleep(1000)

    async with AgentOS(store, [Mixed], stop_deadline=0) as system:
        for key in ("ok", "fail", "wait", "run"):
            await system.publish("mix", {"id": key})
        await asyncio.sleep(1)
        now = system.statistics()
        assert (now.active, now.running, now.suspended, now.waiting) == (4, 1, 1, 0)
        assert (now.committed, now.retried, now.dead, now.timers) == (1, 1, 0, 2)


async def test_a_busy_agent_leaves_turns_to_others(store):
    """A thousand messages for one agent do not keep another one waiting until they are done."""
    order: list[str] = []

    class Greedy(Agent):
        key = "who"

        @on("go")
        async def go(self, event: dict[str, Any], ctx: Context) -> None:
            order.append(ctx.key)

    async with AgentOS(store, [Greedy], max_turns=1) as system:
        busy = [system.publish("go", {"who": "busy"}) for _ in range(TURNS_AT_ONCE + 10)]
        await asyncio.gather(*busy, system.publish("go", {"who": "other"}))
        await system.settle()
    assert order.index("other") <= TURNS_AT_ONCE + 1
