"""The contract of stores about processes: who holds a mailbox, who takes over, and what a person sees."""
# ruff: noqa: S101 - a contract asserts

from __future__ import annotations

import pytest

from aos.errors import StaleFence
from aos.stores.records import EACH, JournalEntry, Kind
from aos.testing.contract_world import World, scenario

TALLY = Kind("Tally", ("ticks.>",))
OTHER = Kind("Other", ("tens",))
FILE = Kind("File", ("files.*",), key="id")


class LeaseContract:
    """Leases, fences, takeovers, other processes' writes, inspection."""

    @scenario
    async def test_an_idle_mailbox_is_given_up(self, world: World) -> None:
        """Its state stays, and the next message brings it back with a lease."""
        p = await world.process(TALLY)
        await p.send("Tally", 1)
        await p.commit("Tally", state={"n": 1})
        assert await p.release("Tally", "File/never") == ["Tally"]
        record = await p.store.agent("Tally")
        assert record is not None
        assert (record.owner, record.state) == (None, {"n": 1})
        await p.send("Tally", 2)
        assert p.values("Tally") == [2]
        assert [lease.turns for lease in p.inbox.leases["Tally"]] == [0, 1]

    @scenario
    async def test_a_mailbox_with_something_due_is_kept(self, world: World) -> None:
        """What is for later does not keep it, and brings it back when its time has come."""
        p = await world.process(TALLY, OTHER)
        at = world.clock.wall_time() + 5.0
        await p.send("Tally", 1)
        await p.send("Other", 1)
        await p.commit("Other", outgoing=(world.message("Other", 2, not_before=at),))
        assert await p.release("Tally", "Other") == ["Other"]
        assert (await p.store.due())[0] == at
        world.clock.move(5.0)
        await p.store.claim()
        assert (p.values("Tally"), p.values("Other")) == ([1], [2])

    @scenario
    async def test_a_suspended_mailbox_waits_for_names_only(self, world: World) -> None:
        """With a suspended turn in it, other messages do not keep it, timers and answers do."""
        p = await world.process(TALLY)
        at = world.clock.wall_time() + 5.0
        await p.send("Tally", 1, 2)
        await p.record("Tally", JournalEntry("sleep#0", "sleep", 0))
        await p.send("Tally", "wake", name="w", not_before=at)
        assert await p.release("Tally", suspended=True) == ["Tally"]
        assert (await p.store.due())[0] == at
        await p.store.claim()
        assert p.values("Tally") == []
        world.clock.move(5.0)
        await p.store.claim()
        assert p.values("Tally") == [1, 2, "wake"]
        assert await p.release("Tally", suspended=True) == []

    @scenario
    async def test_a_silent_process_loses_its_mailboxes(self, world: World) -> None:
        """After its lease another one takes over; until then it does not."""
        p, q = await world.process(TALLY, lease=10.0), await world.process(TALLY, lease=30.0)
        await p.send("Tally", 1)
        world.clock.move(9.0)
        await q.store.claim()
        assert q.values("Tally") == []
        world.clock.move(2.0)
        await q.store.claim()
        assert q.values("Tally") == [1]
        assert [holder.fence for holder in await q.store.holders()] == [q.fence]
        assert q.fence > p.fence

    @scenario
    async def test_a_claim_renews_the_lease(self, world: World) -> None:
        """A process that claims in time keeps what it has."""
        p, q = await world.process(TALLY, lease=10.0), await world.process(TALLY, lease=10.0)
        await p.send("Tally", 1)
        for _ in range(5):
            world.clock.move(6.0)
            await p.store.claim()
            await q.store.claim()
        assert q.values("Tally") == []
        await p.commit("Tally")

    @scenario
    async def test_a_stale_owner_is_refused(self, world: World) -> None:
        """After a takeover nothing of the old owner is written, and it is told once."""
        p = await world.process(TALLY, OTHER)
        await p.send("Tally", 1)
        seq, turn = p.seqs("Tally")[0], p.turn("Tally", state={"n": 1}, outgoing=(world.message("Other", 1),))
        await p.die()
        q = await world.process(TALLY)
        with pytest.raises(StaleFence):
            await p.store.commit(turn)
        with pytest.raises(StaleFence):
            await p.store.record("Tally", p.fence, seq, JournalEntry("step#0", "step", 0))
        assert await p.store.release([("Tally", False)], p.fence) == []
        await p.store.claim()
        await p.store.claim()
        assert p.inbox.revocations == 1
        await q.commit("Tally", state={"n": 2})
        record = await q.store.agent("Tally")
        assert record is not None
        assert (record.state, record.turns) == ({"n": 2}, 1)
        assert await q.store.agent("Other") is None

    @scenario
    async def test_a_process_that_lost_its_lease_begins_anew(self, world: World) -> None:
        """It accepts messages all along, and holds mailboxes again once it has opened again."""
        p = await world.process(TALLY, OTHER)
        await p.send("Tally", 1)
        await p.die()
        q = await world.process(TALLY)
        await p.send("Other", 2)
        await p.store.claim()
        assert p.values("Other") == []
        await p.open([TALLY, OTHER], run=True, lease=10.0, capacity=1000)
        assert (p.values("Tally"), p.values("Other")) == ([], [2])
        assert p.fence > q.fence
        await p.commit("Other")

    @scenario
    async def test_opening_again_gives_up_what_was_held(self, world: World) -> None:
        """One process is one holder, and its mailboxes come with new leases."""
        p = await world.process(TALLY)
        await p.send("Tally", 1)
        turn = p.turn("Tally")
        await p.open([TALLY], run=True, lease=10.0, capacity=1000)
        assert [holder.fence for holder in await p.store.holders()] == [p.fence]
        assert p.values("Tally") == [1]
        with pytest.raises(StaleFence):
            await p.store.commit(turn)

    @scenario
    async def test_a_closed_process_leaves_everything_at_once(self, world: World) -> None:
        """What it held is free without waiting for its lease."""
        p, q = await world.process(TALLY), await world.process(TALLY)
        await p.send("Tally", 1)
        await p.store.close()
        await q.store.claim()
        assert q.values("Tally") == [1]

    @scenario
    async def test_a_mailbox_has_one_owner(self, world: World) -> None:
        """Of several processes that claim the same mailboxes each gets some or none, and no two the same."""
        sender = await world.process(FILE, run=False)
        await sender.publish("files.a", *({"id": i} for i in range(50)))
        crowd = [await world.process(run=False) for _ in range(3)]
        for p in crowd:
            await p.store.declare([FILE])
        await world.at_once(*(p.store.claim() for p in crowd))
        held = [address for p in crowd for address in p.inbox.waiting if address.startswith("File/")]
        assert sorted(held) == sorted(f"File/{i}" for i in range(50))

    @scenario
    async def test_a_process_takes_what_it_runs(self, world: World) -> None:
        """Mailboxes of kinds that it only knows it leaves alone, until it declares to run them."""
        p = await world.process(TALLY, run=False)
        await p.send("Tally", 1)
        await p.store.claim()
        assert p.values("Tally") == []
        assert (await p.store.due())[0] is None
        await p.store.declare([TALLY])
        assert (await p.store.due())[0] is not None
        await p.store.claim()
        assert p.values("Tally") == [1]

    @scenario
    async def test_a_process_holds_no_more_than_its_capacity(self, world: World) -> None:
        """What is beyond waits until something is given up."""
        p = await world.process(FILE, capacity=3)
        await p.publish("files.a", *({"id": i} for i in range(5)))
        assert len(p.inbox.leases) == 3
        for address in list(p.inbox.leases):
            await p.commit(address)
            await p.release(address)
        await p.store.claim()
        assert len(p.inbox.leases) == 5

    @scenario
    async def test_messages_of_other_processes_come_in_order(self, world: World) -> None:
        """What others write into a held mailbox is handed out with the owner's next write at the latest."""
        p, q = await world.process(TALLY), await world.process(TALLY)
        await p.send("Tally", 1)
        await q.send("Tally", 2, 3)
        assert q.values("Tally") == []
        await p.commit("Tally", outgoing=(world.message("Tally", 4),))
        await q.send("Tally", 5)
        await p.store.claim()
        assert p.values("Tally") == [2, 3, 4, 5]
        assert p.seqs("Tally") == sorted(p.seqs("Tally"))

    @scenario
    async def test_others_replace_timers_too(self, world: World) -> None:
        """A name is there once also when another process used it."""
        p, q = await world.process(TALLY), await world.process(TALLY)
        await p.send("Tally", 1, name="t")
        await q.send("Tally", 2, name="t")
        await p.store.claim()
        assert p.values("Tally") == [2]
        await p.commit("Tally", forget=("t",))
        assert await p.store.pending("Tally") == []

    @scenario
    async def test_the_limit_counts_what_others_wrote(self, world: World) -> None:
        """A mailbox is bounded however many processes write into it."""
        small = Kind("Small", limit=4)
        p, q = await world.process(small), await world.process(small)
        for process in (p, q, p, q):
            await process.send("Small", 1)
        results = await world.at_once(p.send("Small", 2), q.send("Small", 2))
        assert [type(result).__name__ for result in results] == ["MailboxFull", "MailboxFull"]

    @scenario
    async def test_a_message_for_what_another_process_runs_reaches_it(self, world: World) -> None:
        """Whoever runs the kind sees that something changed, or is told to look, and claims it."""
        p, q = await world.process(TALLY), await world.process(OTHER)
        await p.store.claim()
        assert (await p.store.due())[1] is False
        await q.send("Tally", 1)
        assert p.inbox.looks or (await p.store.due())[1]
        await p.store.claim()
        assert p.values("Tally") == [1]
        assert (await p.store.due())[1] is False

    @scenario
    async def test_kinds_are_known_to_all(self, world: World) -> None:
        """A declaration replaces the one before, for every process on the store."""
        p, q = await world.process(TALLY), await world.process(OTHER)
        assert await q.publish("ticks.a", 1) == 1
        changed = Kind("Tally", ("tocks",), limit=5)
        await p.store.declare([changed])
        assert (await q.publish("ticks.a", 1), await q.publish("tocks", 1)) == (0, 1)
        assert sorted(await q.store.kinds(), key=lambda kind: kind.name) == [OTHER, changed]

    @scenario
    async def test_numbers_are_never_used_twice(self, world: World) -> None:
        """A message that came and went does not lend its number to a later one, in no process."""
        p, q = await world.process(TALLY), await world.process(OTHER)
        seqs: list[int] = []
        for _ in range(3):
            for process, address in ((p, "Tally"), (q, "Other")):
                await process.send(address, 1)
                seqs += process.seqs(address)
                await process.commit(address, "discarded")
        assert seqs == sorted(set(seqs))

    @scenario
    async def test_a_takeover_drops_what_is_empty(self, world: World) -> None:
        """Mailboxes for one message and those for answers leave nothing behind."""
        p = await world.process(Kind("Work", ("work",), key=EACH), TALLY)
        await p.publish("work", 1, id="w")
        await p.commit("Work/w")
        await p.send("Tally", 1)
        await p.commit("Tally")
        await p.die()
        q = await world.process(TALLY)
        assert [a.address for a in await q.store.agents()] == ["Tally"]

    @scenario
    async def test_stopping_can_be_asked_for(self, world: World) -> None:
        """By fence or for all; each process finds out for itself."""
        p, q = await world.process(TALLY), await world.process(OTHER)
        assert await q.store.request_stop([p.fence]) == 1
        assert (await p.store.stop_requested(), await q.store.stop_requested()) == (True, False)
        assert {holder.fence: holder.stopping for holder in await q.store.holders()} == {p.fence: True, q.fence: False}
        assert await p.store.request_stop() == 2
        assert await q.store.stop_requested()

    @scenario
    async def test_holders_say_what_they_run(self, world: World) -> None:
        """A holder has its process, its kinds and the time until which it holds."""
        p = await world.process(TALLY, OTHER, lease=10.0)
        (holder,) = await p.store.holders()
        assert holder.kinds == ("Other", "Tally")
        assert holder.expires == world.clock.wall_time() + 10.0
        assert holder.pid > 0

    @scenario
    async def test_agents_are_listed_in_order(self, world: World) -> None:
        """By kind, prefix and page, in the order of their addresses."""
        p = await world.process(FILE, TALLY, Kind("Files"))
        await p.publish("files.a", *({"id": f"a/{i}"} for i in (2, 1, 3)), {"id": "b"})
        await p.send("Tally", 1)
        await p.send("Files", 1)

        async def addresses(**chosen: object) -> list[str]:
            return [a.address for a in await p.store.agents(**chosen)]  # type: ignore[arg-type]  # as given

        assert await addresses() == ["File/a/1", "File/a/2", "File/a/3", "File/b", "Files", "Tally"]
        assert await addresses(kind="File") == ["File/a/1", "File/a/2", "File/a/3", "File/b"]
        assert await addresses(prefix="File/a/") == ["File/a/1", "File/a/2", "File/a/3"]
        assert await addresses(after="File/a/2", limit=3) == ["File/a/3", "File/b", "Files"]
        record = await p.store.agent("File/a/1")
        assert record is not None
        assert (record.kind, record.key, record.owner, record.pending) == ("File", "a/1", p.fence, 1)
        assert await p.store.agent("File/never") is None
        assert await p.store.pending("File/never") == []
        assert (await p.store.statistics()).pending == 6
