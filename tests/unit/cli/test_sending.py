"""`aos send`: to agents and topics, checked before anything is written."""

import asyncio

import msgspec
import pytest

from aos import Agent, AgentOS, on


def _state(aos, agent):
    return aos("inspect", agent, "--json").json["agent"]["state"]


def test_a_message_waits_until_a_system_runs(aos, store, run_again) -> None:
    """It is accepted while nobody runs, handled by the next start, and the command says so."""
    done = aos("send", "ticks.kitchen", '{"at": 1}')
    assert done.status == 0
    assert done.out.startswith("sent ")
    assert done.out.endswith(" to Counter\n")
    assert done.err == "note: no process runs Counter now; it is handled after the next 'aos run'\n"
    run_again()
    assert _state(aos, "Counter") == {"n": 1}


def test_an_agent_is_sent_to_by_its_address(aos, store, run_again) -> None:
    """A key is part of the address, or an option of its own."""
    assert aos("send", "Customer/ada", "1", "--topic", "orders", "--json").json["agents"] == ["Customer/ada"]
    assert aos("send", "Customer", "2", "--key", "ada", "--topic", "orders", "--json").json["reached"] == 1
    run_again()
    assert _state(aos, "Customer/ada") == {"last": 2}


def test_the_key_of_a_topic_is_in_the_payload(aos, store) -> None:
    """A published message reaches the agent that its field names."""
    assert aos("send", "orders", '{"who": 7}', "--id", "one", "--json").json == {
        "id": "one",
        "messages": 1,
        "reached": 1,
        "agents": ["Customer/7"],
        "lost": {},
        "idle": ["Customer"],
        "repeated": False,
    }


def test_the_payload_may_come_from_standard_input(aos, store, run_again) -> None:
    """`-` stands for it."""
    assert aos("send", "ticks.a", "-", stdin=b'{"n":\n1}').status == 0
    run_again()
    assert _state(aos, "Counter") == {"n": 1}


def test_lines_are_messages(aos, store, run_again) -> None:
    """With `--lines` each line of standard input is sent."""
    done = aos("send", "ticks.a", "-", "--lines", stdin=b"1\n2\n\n3")
    assert (done.status, done.out) == (0, "sent 3 messages to Counter\n")
    run_again()
    assert _state(aos, "Counter") == {"n": 3}


def test_lines_before_a_wrong_one_are_sent(aos, store) -> None:
    """The error names the line and how many were accepted, so that nothing is sent twice or never."""
    done = aos("send", "orders", "-", "--lines", stdin=b'{"who": 1}\n{"who": 2}\n{"no": 3}\n{"who": 4}\n')
    assert done.status == 2
    assert done.err.splitlines()[0] == "2 messages before this error were accepted"
    assert done.err.splitlines()[1].startswith("error: line 3: Customer hears 'orders', but the payload has no")
    assert [agent["address"] for agent in aos("ps", "--kind", "Customer", "--json").json["agents"]] == [
        "Customer/1",
        "Customer/2",
    ]


def test_an_id_is_accepted_once(aos, store) -> None:
    """The second message of an id is left out, and the command says so."""
    assert aos("send", "ticks.a", "1", "--id", "one").out == "sent one to Counter\n"
    assert aos("send", "ticks.a", "1", "--id", "one").out == "one was accepted before; nothing was sent\n"
    assert aos("send", "Counter", "1", "--id", "one", "--json").json["repeated"] is True
    assert len(aos("inspect", "Counter", "--json").json["pending"]) == 1


def test_a_delayed_message_waits_for_its_time(aos, store, run_again) -> None:
    """`--delay` is there to be seen."""
    aos("send", "ticks.a", '{"x": 1}', "--delay", "3000")
    run_again()
    assert 'ticks.a  due in 50 min  {"x":1}' in aos("inspect", "Counter").out


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["nowhere", "1"],
            "nobody hears the topic 'nowhere', and no agent is called so (topics: orders, sleep, ticks.>, work; agents",
        ),
        (
            ["Nobody/x", "1", "--topic", "t"],
            "no agent is called 'Nobody/x' (known: Broken, Counter, Customer, Sleeper)",
        ),
        (["Customer", "1"], "there is one Customer for each 'who': name one as Customer/KEY, or with --key KEY"),
        (["Customer/", "1"], "there is one Customer for each 'who': name one as Customer/KEY, or with --key KEY"),
        (["Customer/a", "1", "--key", "b"], "'Customer/a' has a key already: leave --key away"),
        (["Counter", "1", "--key", "b"], "there is one Counter only: leave the key away"),
        (["ticks. x", "1"], "topic 'ticks. x' has an illegal part ' x'"),
        (["ticks.*", "1"], "topic 'ticks.*' has an illegal part '*'"),
        (["Counter", "1", "--topic", "a b"], "topic 'a b' has an illegal part 'a b'"),
        (["orders", "{}"], "Customer hears 'orders', but the payload has no text or whole number in the field 'who'"),
        (["ticks.a", "{"], "the payload is not JSON: line 1, column 2"),
        (["ticks.a", "1", "--lines"], "--lines reads standard input"),
        (["ticks.a", "1", "--wait", "--delay", "1"], "--wait goes without --id and --delay"),
    ],
)
def test_bad_input_is_refused_and_changes_nothing(arguments, line, aos, store) -> None:
    """Each has one line that says what to do and exit status 2, and nothing is written."""
    done = aos("send", *arguments)
    assert done.status == 2
    assert done.err.startswith(f"error: {line}")
    assert done.err.count("\n") == 1
    statistics = aos("ps", "--json").json["statistics"]
    assert (statistics["pending"], statistics["dead"]) == (0, 0)


def test_a_payload_over_the_limit_is_refused(aos, store) -> None:
    """More than 1 MiB is an error of the sender, with the size and the limit."""
    done = aos("send", "ticks.a", "-", stdin=msgspec.json.encode("x" * (1 << 20)))
    assert done.status == 2
    assert done.err.startswith("error: the payload has 1,048,578 bytes, the limit is 1,048,576")


def test_a_store_that_is_not_there_is_not_made(aos, tmp_path) -> None:
    """No command but `run` makes a file."""
    for command in (["send", "x", "1"], ["send", "x", "1", "--wait"], ["ps"], ["log"], ["stop"], ["dead", "list"]):
        done = aos(*command, "--store", "sqlite:none.db")
        assert done.status == 3
        assert done.err == (
            "error: there is no store 'none.db': make one with 'aos run FILE.py --store sqlite:none.db', "
            "or name another with --store\n"
        )
    assert list(tmp_path.iterdir()) == []


def test_a_store_in_memory_has_no_second_process(aos) -> None:
    """`memory:` cannot be looked into from outside."""
    done = aos("ps", "--store", "memory:")
    assert (done.status, done.err.startswith("error: 'memory:' is inside the process that runs it")) == (2, True)


def test_the_environment_names_the_store(aos, store, monkeypatch) -> None:
    """`AOS_STORE` stands in for `--store`."""
    monkeypatch.setenv("AOS_STORE", "sqlite:other.db")
    assert "there is no store 'other.db'" in aos("ps").err
    assert aos("ps", "--store", store).status == 0


def test_a_full_mailbox_that_nobody_empties_is_refused(aos) -> None:
    """Nobody would ever make room, so the command does not wait for it, and says what was accepted."""

    class Narrow(Agent):
        mailbox_limit = 2

        @on("narrow")
        async def take(self, event, ctx): ...

    async def register():
        async with AgentOS("sqlite:aos.db", [Narrow]):
            pass

    asyncio.run(register())
    aos("send", "narrow", "0")
    done = aos("send", "narrow", "-", "--lines", stdin=b"1\n2\n")
    assert done.status == 3
    assert done.err == (
        "0 messages before this error were accepted\n"
        "error: the mailbox of 'Narrow' holds its limit of 2 messages, and no process runs Narrow: "
        "start one with 'aos run', and send again\n"
    )
    assert aos("inspect", "Narrow", "--json").json["agent"]["pending"] == 1


def test_waiting_without_a_system_ends_with_the_time_out(aos, store) -> None:
    """The answer does not come, the message stays, and both are said."""
    done = aos("send", "Counter", "1", "--wait", "--timeout", "0.2")
    assert done.status == 1
    assert done.err.splitlines() == [
        "note: no process runs Counter now; it is handled after the next 'aos run'",
        "error: 'Counter' did not answer within 0.2 s; the message was accepted, only its answer will be thrown away",
    ]
    assert len(aos("inspect", "Counter", "--json").json["pending"]) == 1
