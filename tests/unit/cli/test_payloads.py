"""Payloads: JSON that does not parse is named with its place, and lines are sent as they come."""

import io

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aos.cli.payloads import line_batches, read_payload
from aos.errors import InvalidPayload, PayloadTooLarge
from aos.kernel.behaviour import MIB


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "it is empty"),
        (b" \n", "it is empty"),
        (b'{"a": 1,\n "b": }', "line 2, column 7, near"),
        (b"hello", "line 1, column 1, near 'hello': Expecting value; a text needs its quotes: '\"hello\"'"),
        (b'"\xff"', "byte 2 is not UTF-8"),
        (b"NaN", "JSON is malformed"),
        (b"[" * 100_000, "it is nested too deeply"),
    ],
)
def test_what_is_no_json_is_refused_with_its_place(text, why) -> None:
    """The error says where the text stops being JSON, in one line."""
    with pytest.raises(InvalidPayload, match="the payload is not JSON: ") as caught:
        read_payload(text)
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


def test_blanks_are_left_away_and_nothing_else_is() -> None:
    """A payload is sent as it was written, numbers to the last digit."""
    assert read_payload(b' { "b" : 1.10, "a" : 123456789012345678901234567890 } ') == (
        b'{"b":1.10,"a":123456789012345678901234567890}'
    )


def test_a_payload_over_the_limit_is_refused() -> None:
    """One MiB is the limit, blanks not counted."""
    read_payload(b'"' + b"x" * (MIB - 2) + b'"' + b" " * 100)
    with pytest.raises(PayloadTooLarge, match="1,048,577 bytes"):
        read_payload(b'"' + b"x" * (MIB - 1) + b'"')


class Trickle(io.RawIOBase):
    """A stream that gives its bytes in the chunks that it is told."""

    def __init__(self, chunks: list[bytes]) -> None:
        self._chunks = list(chunks)

    def read1(self, _: int) -> bytes:
        return self._chunks.pop(0) if self._chunks else b""


@given(st.lists(st.integers() | st.text(), max_size=10), st.data())
def test_lines_survive_any_cut_of_the_stream(values, data) -> None:
    """Each line is one payload wherever the chunks end, and no chunk waits for the next."""
    whole = b"\n".join(msgspec.json.encode(value) for value in values)
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(whole) - 1)), max_size=5)))
    chunks = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True) if whole[a:b]]
    found = [payload for batch in line_batches(Trickle(chunks)) for payload in batch]
    assert [(number, msgspec.json.decode(text)) for number, text in found] == list(enumerate(values, 1))


def test_a_line_is_there_before_the_next_one_is() -> None:
    """What a slow producer wrote is sent at once."""
    batches = line_batches(Trickle([b"1\n2\n3", b"\n"]))
    assert next(batches) == [(1, b"1"), (2, b"2")]
    assert next(batches) == [(3, b"3")]


def test_the_lines_before_a_wrong_one_come_first() -> None:
    """A wrong line is named by its number, blank lines counted."""
    batches = line_batches(io.BytesIO(b"1\n\n{\n4\n"))
    assert next(batches) == [(1, b"1")]
    with pytest.raises(InvalidPayload, match="line 3 is not JSON"):
        next(batches)
