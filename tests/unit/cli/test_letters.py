"""`aos dead`: what was given up is listed, shown, sent back or thrown away, by number or all."""

import pytest


def _numbers(aos, *options):
    return [letter["number"] for letter in aos("dead", "list", "--json", *options).json]


def test_list_shows_each_with_its_reason(aos, used_store) -> None:
    """Oldest first."""
    lines = aos("dead", "list").out.splitlines()
    assert lines[0].split() == ["NUMBER", "AGENT", "WHEN", "ATTEMPTS", "TOPIC", "REASON"]
    assert [line.rpartition("  ")[2].partition(":")[0] for line in lines[1:]] == ["ValueError", "InvalidPayload"]
    assert _numbers(aos, "--agent", "Counter") == []
    assert len(_numbers(aos, "--limit", "1")) == 1


def test_list_without_any_says_so(aos, store) -> None:
    """No dead letters is a good answer."""
    assert aos("dead", "list").out == "there are no dead letters\n"
    assert aos("dead", "list", "--json").json == []


def test_show_has_message_error_and_traceback(aos, used_store) -> None:
    """Everything that is known of one."""
    first, _ = _numbers(aos)
    out = aos("dead", "show", str(first)).out
    assert out.startswith(f"dead letter {first} of Broken, given up ")
    assert '  {\n    "a": 1\n  }\n' in out
    assert 'raise ValueError("it broke' in out
    assert "\x1b" not in out
    assert aos("dead", "show", str(first), "--json").json["message"]["data"] == {"a": 1}


def test_redrive_sends_one_back(aos, used_store) -> None:
    """It is pending again, the others stay."""
    first, second = _numbers(aos)
    assert aos("dead", "redrive", str(first)).out == "sent 1 message back\n"
    assert _numbers(aos) == [second]
    assert aos("inspect", "Broken", "--json").json["agent"]["pending"] == 1


def test_drop_throws_one_away(aos, used_store) -> None:
    """It is gone, the others stay."""
    first, second = _numbers(aos)
    assert aos("dead", "drop", str(second), "--json").json == {"dropped": 1}
    assert _numbers(aos) == [first]


@pytest.mark.parametrize(("verb", "word"), [("redrive", "redriven"), ("drop", "dropped")])
def test_all_is_all_there_are(verb, word, aos, used_store) -> None:
    """`--all` needs no numbers, and picks an agent's if it is told to."""
    assert aos("dead", verb, "--all", "--agent", "Counter", "--json").json == {word: 0}
    assert aos("dead", verb, "--all", "--json").json == {word: 2}
    assert _numbers(aos) == []


@pytest.mark.parametrize("verb", ["redrive", "drop"])
@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "name the dead letters by their numbers, or all of them with --all"),
        (["1", "--all"], "name the dead letters by their numbers, or all of them with --all"),
        (["1", "--agent", "Broken"], "--agent goes with --all"),
        (["1", "99"], "no dead letter has number 99 (there: 1, 2)"),
    ],
)
def test_a_wrong_choice_changes_nothing(arguments, line, verb, aos, used_store) -> None:
    """One clear line, and all letters are still there."""
    done = aos("dead", verb, *arguments)
    assert (done.status, done.err) == (2, f"error: {line}\n")
    assert len(_numbers(aos)) == 2


def test_show_of_an_unknown_number_is_an_error(aos, store) -> None:
    """The numbers that are there are named."""
    assert aos("dead", "show", "7").err == "error: no dead letter has number 7 (there: none)\n"
