"""What a result says."""

import json

import msgspec
import pytest

from aos.errors import InvalidPayload
from aos.orchestration import OrchestrationResult, StepRecord


def _result(*statuses: str, output: object = None) -> OrchestrationResult:
    steps = [
        StepRecord(f"agent{i}", status, error="" if status == "completed" else "boom")
        for i, status in enumerate(statuses)
    ]
    return OrchestrationResult.of("sequential", steps, output, 1.5)


@pytest.mark.parametrize("status", ["failed", "timed out", "cancelled", "skipped"])
def test_one_agent_that_did_not_complete_is_no_success(status):
    """Every agent has to complete for a success."""
    result = _result("completed", status)
    assert not result.success
    assert result.steps_completed == 1


def test_nothing_done_is_no_success():
    """A result without any record is no success."""
    assert not _result().success


def test_a_result_is_true_if_it_succeeded():
    """A result can stand in a condition."""
    assert _result("completed")
    assert not _result("failed")


def test_the_error_names_the_first_agent_that_did_not_complete():
    """A failed result says in a line who failed and why; a success says nothing."""
    assert _result("completed", "failed", "skipped").error == "agent1 failed: boom"
    assert _result("completed").error == ""


def test_a_result_becomes_json():
    """`to_dict` is plain data, structs inside included."""

    class Found(msgspec.Struct):
        score: float

    plain = _result("completed", output=Found(0.5)).to_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert plain["output"] == {"score": 0.5}
    assert plain["steps"][0]["agent"] == "agent0"


def test_an_output_without_a_json_form_is_refused_by_name():
    """`to_dict` invents no stand-in for an output that is no data."""
    with pytest.raises(InvalidPayload, match="object"):
        _result("completed", output=object()).to_dict()


def test_a_result_never_changes():
    """Records and results are frozen."""
    with pytest.raises(AttributeError):
        _result("completed").success = False
    with pytest.raises(AttributeError):
        _result("completed").steps[0].status = "failed"
