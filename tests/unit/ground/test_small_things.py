"""Messages, chance, clocks, retries, errors."""

import asyncio
import importlib
import inspect
import random
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aos import clock, errors
from aos.entropy import Entropy
from aos.errors import AOSError, AskCycle, InvalidInput, InvalidPayload, NoHandler, StepOutcomeUnknown
from aos.message import Message, answers_address, is_answers, key_of, kind_of
from aos.resilience import RetryPolicy
from tests.virtual import EPOCH

MESSAGE = Message("m1", "Counter", "a.b", b'{"x": 1}', EPOCH, correlation_id="c", causation_id="m0")


def test_a_message_cannot_be_changed():
    """It is frozen, attributes and all."""
    with pytest.raises(AttributeError):
        MESSAGE.attempt = 2  # type: ignore[misc]


def test_a_message_reads_its_payload():
    """As plain data, or validated."""
    assert MESSAGE.payload() == {"x": 1}
    assert MESSAGE.payload(dict[str, int]) == {"x": 1}
    with pytest.raises(InvalidPayload):
        MESSAGE.payload(int)


def test_a_message_as_a_cloud_event():
    """The required attributes of CloudEvents 1.0 are there, in their formats."""
    event = MESSAGE.to_cloudevent()
    assert (event["specversion"], event["id"], event["source"], event["type"]) == ("1.0", "m1", "Counter", "a.b")
    assert datetime.fromisoformat(event["time"]) == datetime.fromtimestamp(EPOCH, UTC)
    assert event["correlationid"] == "c"
    assert all(re.fullmatch("[a-z0-9]+", name) for name in event)


def test_addresses_have_a_kind_and_a_key():
    """The kind ends at the first slash; a key may have slashes of its own."""
    assert (kind_of("Reviewer/src/a.py"), key_of("Reviewer/src/a.py")) == ("Reviewer", "src/a.py")
    assert (kind_of("Counter"), key_of("Counter")) == ("Counter", "")
    assert is_answers(answers_address(5))
    assert not is_answers("Counter/~5")


def test_one_seed_decides_everything():
    """Ids and numbers of one seed are the same, those of no seed are not."""
    one, same, other = Entropy(7), Entropy(7), Entropy()
    assert [one.new_id() for _ in range(5)] == [same.new_id() for _ in range(5)]
    assert one.random.random() == same.random.random()
    assert other.new_id() != Entropy().new_id()
    assert len({other.new_id() for _ in range(1000)}) == 1000


async def test_the_clock_is_the_loops():
    """Under virtual time it is virtual; as_datetime is aware."""
    assert clock.now() == EPOCH
    await asyncio.sleep(5)
    assert clock.now() == EPOCH + 5
    assert clock.as_datetime(EPOCH).tzinfo is UTC


def test_the_clock_works_without_a_loop():
    """Then it is the system's."""
    assert clock.now() > 1_700_000_000


@given(st.integers(1, 10_000), st.floats(0, 1000), st.floats(1, 100), st.floats(0, 10_000), st.integers(0, 2**32))
def test_a_delay_is_between_half_and_all_of_the_back_off(attempt, base, factor, cap, seed):
    """Never more than the cap, never negative, for any attempt."""
    policy = RetryPolicy(attempts=100_000, base=base, factor=factor, cap=cap)
    delay = policy.delay(attempt, OSError(), random.Random(seed))
    assert delay is not None
    assert 0 <= delay <= cap
    if attempt == 1:
        assert min(cap, base) / 2 <= delay <= min(cap, base)


@pytest.mark.parametrize("error", [InvalidInput(), NoHandler(), AskCycle(("a", "a")), StepOutcomeUnknown("s", "k")])
def test_what_cannot_get_better_is_not_tried_again(error):
    """The default policy gives up at once where another attempt would end the same."""
    assert RetryPolicy().delay(1, error, random.Random(1)) is None


def test_the_last_attempt_is_the_last():
    """attempts=3 means three in all."""
    policy = RetryPolicy(attempts=3)
    delays = [policy.delay(n, OSError(), random.Random(1)) is not None for n in (1, 2, 3, 4)]
    assert delays == [True, True, False, False]


@pytest.mark.parametrize(
    "wrong",
    [{"attempts": 0}, {"base": -1}, {"factor": 0.5}, {"cap": -1}, {"base": float("nan")}, {"retry_on": [OSError]}],
)
def test_a_policy_that_makes_no_sense_is_refused(wrong: dict[str, Any]):
    """Where it is written, not when the first message fails."""
    with pytest.raises(InvalidInput, match="RetryPolicy"):
        RetryPolicy(**wrong)


def _errors(base: type[AOSError] = AOSError) -> list[type[AOSError]]:
    """All errors of AOS, also those of rooms; the command line's own end there."""
    for module in ("aos.orchestration", "aos.messaging", "aos.coding.measure"):
        importlib.import_module(module)
    below = [error for error in base.__subclasses__() if error.__module__.startswith("aos.")]
    below = [error for error in below if not error.__module__.startswith("aos.cli.")]
    return list(dict.fromkeys(found for error in below for found in (error, *_errors(error))))


def test_the_tree_of_errors_is_drawn_as_it_is():
    """Every error is in the drawing at the top of the file, below its base."""
    drawn = re.findall(r"^([│ ]*)[├└]── (\w+)", errors.__doc__ or "", re.MULTILINE)
    parents: dict[int, str] = {-1: "AOSError"}
    found = {}
    for indent, name in drawn:
        depth = len(indent) // 4
        parents[depth] = name
        found[name] = parents[depth - 1]
    assert found == {error.__name__: error.__bases__[0].__name__ for error in _errors()}


@pytest.mark.parametrize("error", _errors())
def test_every_error_has_a_line_and_an_exit_status(error):
    """Its docstring is its text when nothing better is known."""
    assert error.__doc__
    assert error.exit_status in (1, 2, 3)
    if all(given.default is not given.empty for given in inspect.signature(error).parameters.values()):
        assert "\n" not in str(error())
