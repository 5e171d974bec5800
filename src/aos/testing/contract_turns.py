"""The contract of stores about turns: one atomic write each, their journal, history and dead letters."""
# ruff: noqa: S101 - a contract asserts

from __future__ import annotations

import msgspec
import pytest

from aos.codec import encode_state
from aos.errors import DeadLettersFull, MailboxFull, StaleFence, UnknownAgent
from aos.message import REPLY, WAKE
from aos.stores.records import EACH, JournalEntry, Kind, Limits
from aos.testing.contract_world import World, scenario

TALLY = Kind("Tally", ("ticks.>",))
OTHER = Kind("Other", ("tens",))
STEP = JournalEntry("step#0", "step", 0, done=True, result=b"\x01", at=1.0, begun=1.0)
WAIT = JournalEntry("wait#1", "wait", 1, pattern="news.*", detail="topic news.*")


class TurnContract:
    """Commits, journals, history, dead letters."""

    @scenario
    async def test_a_commit_writes_everything(self, world: World) -> None:
        """State, messages, timers and history are there afterwards, and the turn's message is gone."""
        p = await world.process(TALLY, OTHER)
        await p.send("Tally", 1)
        later = world.clock.wall_time() + 5.0
        outgoing = (
            world.message("", {"n": 1}, "tens"),
            world.message("Tally", "again", not_before=later, name="t"),
            world.message("", 0, "nobody.hears"),
        )
        await p.commit("Tally", state={"n": 1}, schema=2, outgoing=outgoing, took=0.5)
        assert p.values("Other") == [{"n": 1}]
        record = await p.store.agent("Tally")
        assert record is not None
        assert (record.state, record.schema, record.turns, record.pending) == ({"n": 1}, 2, 1, 1)
        (turn,) = await p.store.turns(address="Tally")
        assert (turn.outcome, turn.sent, turn.took, turn.attempt, turn.message_id) == ("committed", 2, 0.5, 1, "m1")
        assert record.last_turn_at == turn.at == world.clock.wall_time()

    @scenario
    async def test_a_new_owner_finds_what_was_committed(self, world: World) -> None:
        """After a takeover the lease carries state, version and turns; nothing committed comes again."""
        p = await world.process(TALLY)
        await p.send("Tally", 1, 2)
        await p.commit("Tally", state={"n": 1}, schema=3)
        await p.die()
        q = await world.process(TALLY)
        assert q.values("Tally") == [2]
        (lease,) = q.inbox.leases["Tally"]
        assert (lease.state, lease.schema, lease.turns) == (encode_state({"n": 1}), 3, 1)
        assert lease.fence == q.fence

    @scenario
    @pytest.mark.parametrize("why", ["full", "unknown"])
    async def test_a_refused_commit_writes_nothing(self, world: World, why: str) -> None:
        """When one of its messages is refused, neither state nor history nor another message is written."""
        p = await world.process(TALLY, OTHER, Kind("Small", limit=1), Kind("File", ("tens",), key="id"))
        await p.store.append([world.message("Small"), world.message("Tally", 1)])
        outgoing = [world.message("", 1, "tens"), world.message("Small" if why == "full" else "Nobody")]
        with pytest.raises(MailboxFull if why == "full" else UnknownAgent):
            await p.commit("Tally", state={"n": 1}, outgoing=tuple(outgoing), forget=("t",))
        record = await p.store.agent("Tally")
        assert record is not None
        assert (record.state, record.turns, record.pending) == (None, 0, 1)
        assert await p.store.turns() == []
        assert await p.store.dead_letters() == []
        assert p.values("Other") == []
        await p.commit("Tally", state={"n": 1})

    @scenario
    async def test_a_refused_operation_harms_no_other(self, world: World) -> None:
        """What is asked for at the same time is decided one by one, in order."""
        p = await world.process(TALLY, Kind("Small", limit=2))
        asked = [p.send(to, i) for i, to in enumerate(["Small", "Nobody", "Small", "Small", "Tally"])]
        results = await world.at_once(*asked)
        assert [type(result) for result in results] == [int, UnknownAgent, int, MailboxFull, int]
        assert (p.values("Small"), p.values("Tally")) == ([0, 2], [4])

    @scenario
    async def test_a_turn_without_a_state_leaves_the_state(self, world: World) -> None:
        """None is no state, it is the state as before."""
        p = await world.process(TALLY)
        await p.send("Tally", 1, 2)
        await world.at_once(p.commit("Tally", state={"n": 1}, schema=2))
        await p.commit("Tally", schema=3)
        record = await p.store.agent("Tally")
        assert record is not None
        assert (record.state, record.schema, record.turns) == ({"n": 1}, 2, 2)

    @scenario
    async def test_a_retry_keeps_the_message(self, world: World) -> None:
        """It stays in its place with its attempt and time, and is not delivered to its owner again."""
        p = await world.process(TALLY)
        await p.send("Tally", 1, 2)
        (seq, _), message = p.seqs("Tally"), p.inbox.waiting["Tally"][p.seqs("Tally")[0]]
        again = msgspec.structs.replace(message, attempt=2, not_before=99.0)
        await p.commit("Tally", "retry", message=again, error="ValueError: no")
        assert p.values("Tally") == [1, 2]
        record = await p.store.agent("Tally")
        assert record is not None
        assert (record.turns, record.pending, record.last_error) == (0, 2, "ValueError: no")
        await p.die()
        q = await world.process(TALLY)
        assert q.inbox.waiting["Tally"][seq] == again
        assert q.values("Tally") == [1, 2]

    @scenario
    async def test_a_dead_letter_can_be_redriven(self, world: World) -> None:
        """It is kept with its reason and goes back as a first attempt that may be had at once."""
        p = await world.process(TALLY)
        await p.send("Tally", "poison", attempt=5, not_before=7.0, deadline=8.0, name="t")
        await p.commit("Tally", "dead", error="ValueError: it is poison")
        (letter,) = await p.store.dead_letters(address="Tally")
        assert (letter.error_type, letter.reason, letter.traceback) == ("ValueError", "it is poison", "Traceback …")
        assert (await p.store.statistics()).dead == 1
        assert await p.store.redrive([letter.number, 12345]) == 1
        (message,) = p.inbox.waiting["Tally"].values()
        assert (message.payload(), message.attempt, message.not_before, message.deadline) == ("poison", 1, 0.0, 0.0)
        assert await p.store.dead_letters() == []

    @scenario
    async def test_dead_letters_can_be_chosen_and_dropped(self, world: World) -> None:
        """By address, number and count, oldest first; dropping says how many there were."""
        p = await world.process(TALLY, OTHER)
        await p.send("Tally", 1, 2)
        await p.send("Other", 3)
        for address in ("Tally", "Tally", "Other"):
            await p.commit(address, "dead")
        one, two, three = await p.store.dead_letters()
        assert [letter.message.payload() for letter in (one, two, three)] == [1, 2, 3]
        assert await p.store.dead_letters(address="Tally", limit=1) == [one]
        assert await p.store.dead_letters(numbers=[two.number, three.number]) == [two, three]
        assert await p.store.drop([one.number, two.number, 12345]) == 2
        assert await p.store.dead_letters() == [three]
        record = await p.store.agent("Tally")
        assert record is not None
        assert record.dead == 0

    @scenario
    async def test_dead_letters_have_a_limit(self, world: World) -> None:
        """One more is refused, its message stays, and there is room again when one is dropped."""
        keyed = Kind("File", ("files",), key="id")
        p = await world.process(TALLY, keyed, limits=Limits(dead=1))
        await p.send("Tally", 1, 2)
        await p.commit("Tally", "dead")
        with pytest.raises(DeadLettersFull):
            await p.commit("Tally", "dead")
        with pytest.raises(DeadLettersFull):
            await p.publish("files", {"no": "key"})
        assert p.values("Tally") == [2]
        (letter,) = await p.store.dead_letters()
        assert await p.store.drop([letter.number]) == 1
        await p.commit("Tally", "dead")
        assert (await p.store.statistics()).dead == 1

    @scenario
    async def test_a_discarded_message_leaves_no_trace(self, world: World) -> None:
        """It is gone, and nothing else has changed."""
        p = await world.process(TALLY)
        await p.send("Tally", 1)
        await p.commit("Tally", "discarded")
        record = await p.store.agent("Tally")
        assert record is not None
        assert (record.pending, record.turns) == (0, 0)
        assert await p.store.turns() == []

    @scenario
    async def test_a_message_is_committed_once(self, world: World) -> None:
        """A second turn of the same message is refused, and the mailbox is handed out anew."""
        p = await world.process(TALLY)
        await p.send("Tally", 1, 2)
        turn = p.turn("Tally", state={"n": 1})
        await p.store.commit(turn)
        with pytest.raises(StaleFence):
            await p.store.commit(turn)
        await p.store.claim()
        assert len(p.inbox.leases["Tally"]) == 2
        assert p.values("Tally") == [2]
        record = await p.store.agent("Tally")
        assert record is not None
        assert record.turns == 1

    @scenario
    async def test_a_timer_that_was_replaced_has_no_turn(self, world: World) -> None:
        """Its turn is refused, and the new one is handed out."""
        p = await world.process(TALLY)
        await p.send("Tally", 1, name="t")
        turn = p.turn("Tally", state={"n": 1})
        await p.send("Tally", 2, name="t")
        with pytest.raises(StaleFence):
            await p.store.commit(turn)
        await p.store.claim()
        assert p.values("Tally") == [2]

    @scenario
    async def test_a_journal_outlives_its_owner(self, world: World) -> None:
        """Entries come with the lease, the latest of each name, and go with the turn's end."""
        p = await world.process(TALLY)
        await p.send("Tally", 1, 2)
        begun = JournalEntry("ask#1", "ask", 1, detail="an answer of Other")
        for entry in (STEP, begun):
            await p.record("Tally", entry)
        seq = p.seqs("Tally")[0]
        record = await p.store.agent("Tally")
        assert record is not None
        assert record.waiting_for == "an answer of Other"
        await p.record("Tally", ended := JournalEntry("ask#1", "ask", 1, done=True, result=b"\x02", at=2.0))
        await p.die()
        q = await world.process(TALLY)
        assert q.inbox.leases["Tally"][0].journal == {seq: [STEP, ended]}
        assert (await q.store.statistics()).journal == 2
        await q.commit("Tally", has_journal=True)
        assert (await q.store.statistics()).journal == 0

    @scenario
    async def test_a_failed_turn_keeps_its_journal(self, world: World) -> None:
        """What was recorded is there for the next attempt."""
        p = await world.process(TALLY)
        await p.send("Tally", 1)
        await p.record("Tally", STEP)
        await p.commit("Tally", "retry", message=world.message("Tally", 1, attempt=2))
        await p.die()
        q = await world.process(TALLY)
        assert list(q.inbox.leases["Tally"][0].journal.values()) == [[STEP]]

    @scenario
    async def test_a_record_sends_and_uses_up(self, world: World) -> None:
        """A journal entry takes messages and timers away and sends others in the same write."""
        p = await world.process(TALLY, OTHER)
        await p.send("Tally", 1)
        request, wake = world.message("Other", "?"), world.message("Tally", None, WAKE, name="w")
        ask = JournalEntry("ask#0", "ask", 0)
        await p.record("Tally", ask, outgoing=[request, wake])
        assert p.values("Other") == ["?"]
        await p.send("Tally", "!", correlation_id="c", name="answer")
        consumed = p.seqs("Tally")[-1]
        await p.record("Tally", ask, consumed=consumed, forget=["w", "nothing"])
        assert [m.payload() for m in await p.store.pending("Tally")] == p.values("Tally") == [1]

    @scenario
    async def test_a_record_needs_its_message(self, world: World) -> None:
        """A turn that is over records nothing."""
        p = await world.process(TALLY)
        await p.send("Tally", 1)
        seq = p.seqs("Tally")[0]
        await p.commit("Tally")
        with pytest.raises(StaleFence):
            await p.store.record("Tally", p.fence, seq, STEP)
        assert (await p.store.statistics()).journal == 0

    @scenario
    async def test_a_wait_hears_its_topic(self, world: World) -> None:
        """While a turn waits for a pattern its mailbox gets those messages, from every process; then no more."""
        p, q = await world.process(TALLY), await world.process(OTHER)
        await p.send("Tally", 1)
        assert await q.publish("news.today", 0) == 0
        await p.record("Tally", WAIT)
        assert await q.publish("news.today", "rain") == 1
        await p.store.claim()
        assert p.values("Tally") == [1, "rain"]
        done = JournalEntry("wait#1", "wait", 1, done=True)
        await p.record("Tally", done, consumed=p.seqs("Tally")[1])
        assert await q.publish("news.today", "sun") == 0

    @scenario
    async def test_a_wait_ends_with_its_turn(self, world: World) -> None:
        """A turn that failed for good hears nothing any more; a suspended one that was taken over still does."""
        p = await world.process(TALLY)
        await p.send("Tally", 1)
        await p.record("Tally", WAIT)
        await p.die()
        q = await world.process(TALLY)
        assert await q.publish("news.today", "rain") == 1
        await q.commit("Tally", "dead", has_journal=True)
        assert await q.publish("news.today", "sun") == 0

    @scenario
    async def test_history_is_bounded_for_each_agent(self, world: World) -> None:
        """The latest turns of each agent are kept, and what is shown is at most `history_count`."""
        p = await world.process(TALLY, OTHER, limits=Limits(history_count=5))
        await p.send("Other", 0)
        await p.commit("Other")
        for i in range(40):
            await p.send("Tally", i)
            await p.commit("Tally")
        shown = await p.store.turns(address="Tally", limit=1000)
        assert [turn.message_id for turn in shown] == [f"m{i}" for i in range(37, 42)]
        assert (await p.store.statistics()).turns_kept <= 11
        assert len(await p.store.turns(address="Other")) == 1

    @scenario
    async def test_history_is_bounded_in_all(self, world: World) -> None:
        """Not more than `history_total` turns are kept, and a tenth."""
        p = await world.process(Kind("Work", ("work",), key=EACH), limits=Limits(history_total=30))
        for i in range(100):
            await p.publish("work", i, id=str(i))
            await p.commit(f"Work/{i}", ends=True)
        assert (await p.store.statistics()).turns_kept <= 33
        assert [turn.message_id for turn in await p.store.turns(limit=3)] == ["97", "98", "99"]

    @scenario
    async def test_history_can_be_followed(self, world: World) -> None:
        """Numbers rise over all agents, and `after` gives what came since."""
        p = await world.process(TALLY, OTHER)
        for address in ("Tally", "Other", "Tally", "Other"):
            await p.send(address, 1)
            await p.commit(address)
        first, *rest = await p.store.turns()
        assert [turn.address for turn in (first, *rest)] == ["Tally", "Other", "Tally", "Other"]
        assert await p.store.turns(after=first.number) == rest
        assert await p.store.turns(after=first.number, limit=2) == rest[:2]
        assert await p.store.turns(limit=2) == rest[1:]

    @scenario
    async def test_history_can_be_switched_off(self, world: World) -> None:
        """`history_count=0` keeps none."""
        p = await world.process(TALLY, limits=Limits(history_count=0))
        await p.send("Tally", 1)
        await p.commit("Tally", state=[])
        assert await p.store.turns() == await p.store.turns(address="Tally") == []

    @scenario
    async def test_an_answer_reaches_a_turn(self, world: World) -> None:
        """It comes by name to a mailbox that nobody holds, and wakes it although its turn is suspended."""
        p = await world.process(TALLY)
        await p.send("Tally", 1)
        await p.record("Tally", JournalEntry("ask#0", "ask", 0))
        assert await p.release("Tally", suspended=True) == ["Tally"]
        await p.store.append([world.message("Tally", "!", REPLY, name="reply", correlation_id="1:ask#0")])
        assert p.values("Tally") == [1, "!"]
        assert len(p.inbox.leases["Tally"][-1].journal) == 1
