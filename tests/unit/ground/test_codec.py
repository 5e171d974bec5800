"""Payloads and states as bytes and back."""

import dataclasses
import enum
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from aos.codec import encode_payload, encode_state, payload_decoder, state_decoder
from aos.errors import InvalidPayload

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)  # fmt: skip


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int
    colour: Colour = Colour.RED


class Line(msgspec.Struct):
    start: Point
    at: datetime


class Model(BaseModel):
    number: int = Field(alias="no")
    tags: set[str] = set()
    inner: "Model | None" = None


VALUES: list[tuple[Any, Any]] = [
    (Point(1), Point),
    (Line(Point(2), datetime(2027, 1, 1, tzinfo=UTC)), Line),
    (Model(no=1, tags={"a"}, inner=Model(no=2)), Model),
    ([Model(no=1)], list[Model]),
    ({"a": Model(no=1)}, dict[str, Model]),
    (None, Model | None),
    ([1, 2], list[int]),
    ("text", str | int),
]


@given(PLAIN)
def test_plain_data_comes_back_as_it_was(value):
    """JSON and state, both ways."""
    assert payload_decoder(Any)(encode_payload(value)) == value
    assert state_decoder(Any)(encode_state(value)) == value


@pytest.mark.parametrize(("value", "wanted"), VALUES)
def test_typed_values_come_back_as_their_type(value, wanted):
    """Dataclasses, structs, pydantic models with aliases, and lists and unions of them."""
    assert payload_decoder(wanted)(encode_payload(value)) == value
    assert state_decoder(wanted)(encode_state(value)) == value


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(
    "wrap", [lambda n: n, lambda n: {"a": [1, (n,)]}, lambda n: Point(1, n), lambda n: [None, {"x": n}]]
)
def test_a_number_that_json_cannot_say_is_refused(number, wrap):
    """It would arrive as null."""
    with pytest.raises(InvalidPayload, match="JSON has no number"):
        encode_payload(wrap(number))


def test_nothing_is_sent_as_null():
    """None is no such number."""
    assert encode_payload({"a": None, "b": [None, 1.5, "null"]}) == b'{"a":null,"b":[null,1.5,"null"]}'


@pytest.mark.parametrize("value", [object(), {1, object()}, lambda: 1, {(1, 2): 3}, "\ud800"])
def test_what_is_no_data_is_refused(value):
    """The text says what it was."""
    with pytest.raises(InvalidPayload, match="cannot be sent"):
        encode_payload(value)
    if not isinstance(value, dict):
        with pytest.raises(InvalidPayload, match="cannot be stored"):
            encode_state(value)


def test_a_value_that_contains_itself_is_refused():
    """It is an error, not the end of the process."""
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(InvalidPayload):
        encode_payload(endless)
    with pytest.raises(InvalidPayload):
        encode_state(endless)


@pytest.mark.parametrize("data", [b"", b"{", b"nul", b'{"x": }', b"\xff", b"[" * 100_000, b'"\\ud800"'])
@pytest.mark.parametrize("wanted", [Any, Point, Model, dict])
def test_what_does_not_parse_is_invalid_in_one_line(data, wanted):
    """Whatever the bytes are, the error is InvalidPayload and its text one line."""
    with pytest.raises(InvalidPayload) as caught:
        payload_decoder(wanted)(data)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wanted", [Point, Model, Line, list[Model]])
def test_what_does_not_fit_names_the_type(wanted):
    """The type and the reason are in the text."""
    with pytest.raises(InvalidPayload, match="does not fit"):
        payload_decoder(wanted)(b'{"x": "no number"}')


def test_states_keep_times_and_bytes():
    """What JSON cannot say, a state can."""
    value = {"at": datetime(2027, 1, 1, tzinfo=UTC), "raw": b"\x00\xff"}
    assert state_decoder(dict)(encode_state(value)) == value
