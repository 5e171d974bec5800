"""`aos ps`, `aos inspect` and `aos log`: what is there, for people and for programs."""

import re

import pytest

from aos.cli import access, looking, unsubscribing
from aos.stores.records import Holder


def _lines(text):
    return [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()]


def test_ps_shows_every_agent_and_its_life(aos, used_store) -> None:
    """Each agent is there with what it does, what waits for it and what went wrong."""
    rows = {row[0]: row[1:5] for row in _lines(aos("ps").out)}
    assert rows["AGENT"] == ["LIFE", "TURNS", "PENDING", "DEAD"]
    assert rows["Counter"] == ["hibernated", "2", "0", "0"]
    assert rows["Customer/ada"] == ["hibernated", "1", "0", "0"]
    assert rows["Sleeper"] == ["suspended: the end of a sleep of 3000 s", "0", "2", "0"]
    assert rows["Broken"] == ["hibernated", "0", "0", "2"]
    assert rows["no process runs: what is pending is handled after the next 'aos run'"] == []


def test_ps_shows_agents_that_never_had_a_message(aos, store) -> None:
    """A single agent is there from its registration on."""
    assert [agent["address"] for agent in aos("ps", "--json").json["agents"]] == ["Broken", "Counter", "Sleeper"]


def test_ps_is_bounded_and_says_so(aos, used_store) -> None:
    """`--limit` bounds the list, `--kind` picks, and an unknown kind is an error."""
    assert "… there are 4 agents in all: raise --limit" in aos("ps", "--limit", "2").out
    assert [agent["address"] for agent in aos("ps", "--kind", "Customer", "--json").json["agents"]] == ["Customer/ada"]
    assert aos("ps", "--kind", "Customer", "--limit", "1", "--json").json["more"] is False
    done = aos("ps", "--kind", "Custom")
    assert (done.status, done.err) == (
        2,
        "error: no agent is called 'Custom' (known: Broken, Counter, Customer, Sleeper)\n",
    )


def test_ps_tells_programs_everything(aos, used_store) -> None:
    """`--json` is one document with agents, kinds, processes and statistics."""
    found = aos("ps", "--json").json
    assert set(found) == {"agents", "more", "kinds", "processes", "statistics"}
    assert found["statistics"]["dead"] == 2
    assert {kind["name"]: kind["key"] for kind in found["kinds"]}["Customer"] == "who"
    assert all("state" not in agent for agent in found["agents"])


def test_inspect_shows_all_about_an_agent(aos, used_store) -> None:
    """State, turns, and what is said of the rest."""
    out = aos("inspect", "Counter").out
    assert out.startswith("Counter  hibernated, 2 turns, the last ")
    assert 'state, version 1:\n  {\n    "n": 2\n  }\n' in out
    assert re.search(r"latest turns:\n  \S+  Counter  ticks.a  committed  \S+ .?s\n", out)


def test_inspect_shows_what_a_suspended_agent_waits_for(aos, used_store) -> None:
    """The message whose turn is suspended, and the timer that ends it."""
    out = aos("inspect", "Sleeper").out
    assert "waits for the end of a sleep of 3000 s\n" in out
    assert re.search(r"pending:\n  sleep  due now  null\n  timer .*  due in 50 min  null\n", out)


def test_inspect_shows_dead_letters(aos, used_store) -> None:
    """What failed is there in a line each, which no terminal acts on."""
    out = aos("inspect", "Broken").out
    assert out.count("ValueError: it broke in \\x1b[31mtwo\\x1b[0m lines") == 2
    assert "InvalidPayload: the payload does not fit" in out
    assert len(aos("inspect", "Broken", "--json").json["dead"]) == 2


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["Count"], "no agent is called 'Count' (known: Broken, Counter, Customer, Sleeper)"),
        (["Customer"], "there is one Customer for each 'who': name one as Customer/KEY, or with --key KEY"),
        (["Customer/bob"], "no agent is called 'Customer/bob' (known: Customer/ada)"),
    ],
)
def test_inspect_names_what_is_known(arguments, line, aos, used_store) -> None:
    """An agent that is not there is one clear error."""
    done = aos("inspect", *arguments)
    assert (done.status, done.err) == (2, f"error: {line}\n")


def test_inspect_takes_the_key_apart(aos, used_store) -> None:
    """A key may contain anything, so it may be given on its own."""
    assert aos("inspect", "Customer", "--key", "ada", "--json").json["agent"]["key"] == "ada"
    assert "no state" in aos("inspect", "Sleeper").out


def test_a_long_mailbox_is_cut(aos, store, monkeypatch) -> None:
    """What is not shown is counted."""
    aos("send", "ticks.a", "-", "--lines", stdin=b"1\n" * 103)
    assert "… and 3 more" in aos("inspect", "Counter").out


def test_log_shows_the_latest_turns(aos, used_store) -> None:
    """Oldest first, as many as asked for."""
    assert [line.split()[1] for line in aos("log").out.splitlines()][:2] == ["Counter", "Counter"]
    assert [turn["outcome"] for turn in aos("log", "-n", "2", "--json").json] == ["dead", "dead"]
    assert [turn["address"] for turn in aos("log", "--agent", "Customer/ada", "--json").json] == ["Customer/ada"]
    assert aos("log", "-n", "0").out == "no turns yet\n"


def test_log_of_nobody_is_an_error(aos, used_store) -> None:
    """An agent that is not known has no history."""
    assert aos("log", "--agent", "Nobody").status == 2


def test_log_of_a_quiet_agent_is_empty(aos, store) -> None:
    """One that never had a message has none either, and that is no error."""
    assert aos("log", "--agent", "Counter").out == "no turns yet\n"


@pytest.mark.parametrize(
    ("change", "runs"),
    [
        ({}, True),
        ({"kinds": ()}, False),
        ({"expires": 0.0}, False),
    ],
)
async def test_a_process_runs_until_that_is_known_to_be_wrong(change, runs) -> None:
    """One whose lease is over and one that only asks are not shown."""

    class Store:
        async def holders(self):
            facts = {"pid": 4711, "host": "h", "expires": 1e12, "kinds": ("A",)}
            return [Holder(fence=1, started=0.0, **{**facts, **change})]

    assert bool(await access.processes(Store())) is runs


def test_a_process_is_shown_with_what_it_runs(aos, store, monkeypatch) -> None:
    """Who runs what, since when, and whether it was asked to stop."""
    holder = Holder(1, 4711, "h", 0.0, 1e12, ("Counter", "Sleeper"), stopping=True)

    async def one(_):
        return [holder]

    monkeypatch.setattr(looking, "processes", one)
    assert re.search(r"process 4711 runs Counter, Sleeper, since .*, and was asked to stop\n", aos("ps").out)


def test_a_kind_that_nothing_runs_is_taken_off_its_topics(aos, store) -> None:
    """`aos unsubscribe` says what it heard; afterwards nobody hears it."""
    assert aos("unsubscribe", "Counter", "--json").json["topics"]
    assert aos("unsubscribe", "Counter", "--json").json["topics"] == []
    assert aos("unsubscribe", "Nobody").status == 2


def test_a_kind_that_runs_stays_subscribed(aos, store, monkeypatch) -> None:
    """`aos unsubscribe` refuses while a process runs the kind."""

    async def one(_):
        return [Holder(1, 4711, "h", 0.0, 1e12, ("Counter",))]

    monkeypatch.setattr(unsubscribing, "processes", one)
    done = aos("unsubscribe", "Counter")
    assert done.status == 2
    assert "stop first" in done.err
