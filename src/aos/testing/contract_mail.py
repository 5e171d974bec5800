"""The contract of stores about messages: where they go, in which order, and how often."""
# ruff: noqa: S101 - a contract asserts

from __future__ import annotations

import asyncio
import contextlib

import pytest

from aos.errors import MailboxFull, StoreClosed, UnknownAgent
from aos.message import REPLY, answers_address
from aos.stores.records import EACH, Kind, Limits
from aos.testing.contract_world import Process, World, scenario

TALLY = Kind("Tally", ("ticks.>",))
FILE = Kind("File", ("files.*",), key="path.name")
WORK = Kind("Work", ("work",), key=EACH)


class MailContract:
    """Appending, routing, timers, deduplication, limits, windows."""

    @scenario
    async def test_a_mailbox_gets_messages_in_the_order_they_were_accepted(self, world: World) -> None:
        """Numbers rise, and what was appended first is delivered first."""
        p = await world.process(TALLY)
        await p.send("Tally", 1, 2)
        await p.publish("ticks.a", 3)
        await p.send("Tally", 4)
        assert p.values("Tally") == [1, 2, 3, 4]
        assert p.seqs("Tally") == sorted(p.seqs("Tally"))

    @scenario
    async def test_every_attribute_of_a_message_survives(self, world: World) -> None:
        """A message that another process reads is the message that was sent."""
        p = await world.process(TALLY, run=False)
        sent = world.message(
            "", {"ä": [1, None]}, "ticks.ü", source="Röntgen/1", not_before=1.5, deadline=9e9, name="n", attempt=3,
            correlation_id="c", causation_id="d", traceparent="t", reply_to="r", chain=("a", "b"), error="e",
            repeat="every 5",
        )  # fmt: skip
        await p.store.append([sent])
        q = await world.process(TALLY)
        assert list(q.inbox.waiting["Tally"].values()) == [sent]
        assert await q.store.pending("Tally") == [sent]

    @scenario
    async def test_a_topic_reaches_every_kind_that_hears_it(self, world: World) -> None:
        """`append` says how many mailboxes it reached, and nobody listening is no error."""
        p = await world.process(TALLY, Kind("Other", ("ticks.*",)), Kind("Deaf"))
        assert await p.publish("ticks.a", 1) == 2
        assert await p.publish("nobody.hears", 1) == 0
        assert (p.values("Tally"), p.values("Other"), p.values("Deaf")) == ([1], [1], [])

    @scenario
    async def test_a_key_picks_the_mailbox(self, world: World) -> None:
        """A keyed kind has one mailbox for each value of its field."""
        p = await world.process(FILE)
        await p.publish("files.a", *({"path": {"name": name}} for name in ("x", "y", "x", 7)))
        found = await p.store.agents()
        assert [(a.address, a.pending) for a in found] == [("File/7", 1), ("File/x", 2), ("File/y", 1)]

    @scenario
    async def test_a_payload_without_the_key_is_a_dead_letter(self, world: World) -> None:
        """It is kept with its reason, and whoever else hears the topic gets it."""
        p = await world.process(FILE, Kind("Other", ("files.*",)))
        assert await p.publish("files.a", {"path": 1}) == 1
        (letter,) = await p.store.dead_letters()
        assert (letter.address, letter.error_type) == ("File", "InvalidPayload")
        assert "path.name" in letter.reason
        assert p.values("Other") == [{"path": 1}]

    @scenario
    async def test_redriving_what_found_no_mailbox_reaches_its_kind_alone(self, world: World) -> None:
        """It stays a dead letter as long as it finds none, and nobody else gets it twice."""
        p = await world.process(FILE, Kind("Other", ("files.*",)))
        await p.publish("files.a", {"id": 5})
        (letter,) = await p.store.dead_letters()
        assert await p.store.redrive([letter.number]) == 0
        assert await p.store.dead_letters() == [letter]
        await p.store.declare([Kind("File", ("files.*",), key="id")])
        assert await p.store.redrive([letter.number]) == 1
        assert (p.values("File/5"), p.values("Other")) == ([{"id": 5}], [{"id": 5}])
        assert await p.store.dead_letters() == []

    @scenario
    async def test_an_unknown_agent_refuses_all(self, world: World) -> None:
        """All messages of an `append` are accepted or none."""
        p = await world.process(TALLY, FILE)
        for address in ("Nobody", "Nobody/1", "Tally/1", "File"):
            with pytest.raises(UnknownAgent):
                await p.store.append([world.message("Tally"), world.message("", {}, "files.a"), world.message(address)])
        assert p.values("Tally") == []
        assert await p.store.agents() == []
        assert await p.store.dead_letters() == []

    @scenario
    async def test_a_full_mailbox_refuses_all(self, world: World) -> None:
        """The limit of a kind holds exactly, also within one `append`, and a turn makes room again."""
        p = await world.process(Kind("Small", ("s",), limit=3), TALLY)
        await p.send("Small", 1, 2)
        with pytest.raises(MailboxFull) as full:
            await p.store.append([world.message("Tally"), world.message("Small"), world.message("", 0, "s")])
        assert (full.value.address, full.value.limit) == ("Small", 3)
        assert (p.values("Small"), p.values("Tally")) == ([1, 2], [])
        await p.send("Small", 3)
        with pytest.raises(MailboxFull):
            await p.send("Small", 4)
        await p.commit("Small")
        await p.send("Small", 5)
        assert p.values("Small") == [2, 3, 5]

    @scenario
    async def test_the_limit_holds_where_nobody_runs_the_kind(self, world: World) -> None:
        """A mailbox is bounded also while nobody empties it."""
        p = await world.process(Kind("Small", limit=2), run=False)
        await p.send("Small", 1)
        with pytest.raises(MailboxFull):
            await p.send("Small", 2, 3)
        await p.send("Small", 2)
        with pytest.raises(MailboxFull):
            await p.send("Small", 3)

    @scenario
    async def test_a_full_mailbox_takes_what_it_needs_to_go_on(self, world: World) -> None:
        """A turn may replace its own message, a timer itself, and an answer always finds room."""
        p = await world.process(Kind("Small", limit=1))
        await p.send("Small", 1)
        await p.commit("Small", outgoing=(world.message("Small", 2, name="t"),))
        await p.send("Small", 3, name="t")
        await p.store.append([world.message("Small", 4, REPLY)])
        assert p.values("Small") == [3, 4]

    @scenario
    async def test_an_id_is_accepted_once(self, world: World) -> None:
        """With `once`, an id that was accepted in the last `dedupe_age` seconds is left out."""
        p = await world.process(TALLY, limits=Limits(dedupe_age=60.0))
        first = world.message("Tally", 1, id="order 1")
        assert await p.store.append([first, first], once=True) == 1
        assert (
            await p.store.append([world.message("Tally", 2, id="order 1"), world.message("Tally", 3)], once=True) == 1
        )
        world.clock.move(61.0)
        assert await p.store.append([world.message("Tally", 4, id="order 1")], once=True) == 1
        assert p.values("Tally") == [1, 3, 4]

    @scenario
    async def test_a_refused_id_may_come_again(self, world: World) -> None:
        """Only what was accepted counts as accepted."""
        p = await world.process(Kind("Small", limit=1))
        await p.send("Small", 1)
        again = world.message("Small", 2)
        with pytest.raises(MailboxFull):
            await p.store.append([again], once=True)
        await p.commit("Small")
        assert await p.store.append([again], once=True) == 1

    @scenario
    async def test_a_message_for_later_waits(self, world: World) -> None:
        """`due` says when, and `claim` hands it out then and not before."""
        p = await world.process(TALLY)
        await p.send("Tally", 1, not_before=world.clock.wall_time() + 5.0)
        due, _ = await p.store.due()
        assert due == world.clock.wall_time() + 5.0
        await p.store.claim()
        assert p.values("Tally") == []
        world.clock.move(5.0)
        await p.store.claim()
        assert p.values("Tally") == [1]
        assert (await p.store.due())[0] is None

    @scenario
    async def test_a_name_is_there_once_in_a_mailbox(self, world: World) -> None:
        """A message replaces the one of its name, held or free, due or not."""
        p = await world.process(TALLY, Kind("Other"))
        later = world.clock.wall_time() + 5.0
        await p.send("Tally", 1, name="t", not_before=later)
        await p.send("Other", 1, name="t")
        await p.send("Tally", 2, name="t", not_before=later)
        assert [m.payload() for m in await p.store.pending("Tally")] == [2]
        world.clock.move(5.0)
        await p.store.claim()
        await p.send("Tally", 3, name="t")
        await p.send("Tally", 4, name="other")
        assert [m.payload() for m in await p.store.pending("Tally")] == [3, 4]
        assert p.values("Tally") == [3, 4]
        assert p.values("Other") == [1]

    @scenario
    async def test_a_mailbox_for_one_message_ends_with_it(self, world: World) -> None:
        """Competing consumers leave nothing behind."""
        p = await world.process(WORK)
        await p.publish("work", 1, 2)
        addresses = [a.address for a in await p.store.agents()]
        assert len(addresses) == 2
        for address in addresses:
            await p.commit(address, ends=True)
        assert await p.store.agents() == []
        assert len(await p.store.turns()) == 2

    @scenario
    async def test_a_mailbox_that_ended_takes_a_message_of_the_same_id(self, world: World) -> None:
        """What comes for the address of an ended mailbox begins a new one."""
        p = await world.process(WORK)
        again = world.message("", 1, "work", id="same")
        await p.store.append([again])
        ending = p.store.commit(p.turn("Work/same", ends=True))
        await asyncio.gather(ending, p.store.append([again]))
        assert len(p.inbox.leases["Work/same"]) == 2
        assert p.values("Work/same") == [1]

    @scenario
    async def test_more_than_a_window_is_handed_out_on_request(self, world: World) -> None:
        """Whoever loads when told so gets every message once and in order, those with a name ahead."""
        p = await world.process(TALLY, limits=Limits(window=4))
        await p.send("Tally", *range(10))
        await p.send("Tally", "timer", name="t")
        await p.release("Tally")
        seen: list[object] = []
        for i in range(10, 20):
            await p.send("Tally", i)
            seen += await _drain(p, 1)
        while p.values("Tally") or "Tally" in p.inbox.overflowing:
            seen += await _drain(p, 3)
        assert [value for value in seen if value != "timer"] == list(range(20))
        assert seen.count("timer") == 1

    @scenario
    async def test_a_window_is_handed_out_with_the_lease(self, world: World) -> None:
        """A new owner is told that there is more than it was handed."""
        p = await world.process(TALLY, run=False)
        await p.send("Tally", *range(10))
        q = await world.process(TALLY, limits=Limits(window=4))
        seen: list[object] = []
        while q.values("Tally") or "Tally" in q.inbox.overflowing:
            seen += await _drain(q, 2)
        assert seen == list(range(10))

    @scenario
    async def test_answers_go_to_the_process_that_asked(self, world: World) -> None:
        """Its mailbox ends with it: what comes later reaches nobody, and it is not listed."""
        p, q = await world.process(TALLY), await world.process(TALLY)
        address = answers_address(p.fence)
        assert await q.store.append([world.message(address, 1, REPLY)]) == 1
        await p.store.claim()
        assert p.values(address) == [1]
        await p.commit(address, "discarded")
        assert [a.address for a in await q.store.agents()] == []
        assert (await q.store.statistics()).agents == 0
        await p.store.close()
        assert await q.store.append([world.message(address, 2, REPLY)]) == 0

    @scenario
    async def test_a_cancelled_caller_loses_nothing(self, world: World) -> None:
        """Once begun an operation happens, whoever waits for it, and nothing is delivered twice."""
        p = await world.process(TALLY)
        for i in range(20):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0):
                    await p.send("Tally", i)
        await p.store.claim()
        assert p.values("Tally") == list(range(20))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0):
                await p.store.commit(p.turn("Tally", state={"n": 1}))
        await p.store.claim()
        record = await p.store.agent("Tally")
        assert record is not None
        assert (record.pending, record.turns, record.state) == (19, 1, {"n": 1})

    @scenario
    async def test_a_closed_store_says_so(self, world: World) -> None:
        """Closing twice is harmless, and whatever is asked afterwards is refused."""
        p = await world.process(TALLY)
        await p.store.close()
        await p.store.close()
        with pytest.raises(StoreClosed):
            await p.send("Tally", 1)
        with pytest.raises(StoreClosed):
            await p.store.claim()


async def _drain(process: Process, most: int) -> list[object]:
    """Commit up to `most` waiting messages, loading when told that there is more."""
    seen: list[object] = []
    for _ in range(most):
        unnamed = [seq for seq, m in process.inbox.waiting.get("Tally", {}).items() if not m.name]
        if not unnamed and "Tally" in process.inbox.overflowing:
            process.inbox.overflowing.discard("Tally")
            top = max((seq for _, seq, m in process.inbox.log if not m.name), default=0)
            await process.store.load("Tally", top)
        if not process.seqs("Tally"):
            break
        seq = process.seqs("Tally")[0]
        seen.append(process.inbox.waiting["Tally"][seq].payload())
        await process.commit("Tally", seq=seq)
    return seen
