"""Payloads as a user gives them: JSON as an argument, on standard input, or a line each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import msgspec

from aos.cli.failure import one_line
from aos.errors import InvalidPayload, PayloadTooLarge
from aos.kernel.behaviour import MIB

_CHUNK = 1 << 16
_BATCH = 256
_NEAR = 12


def read_payload(data: bytes, name: str = "the payload") -> bytes:
    """JSON without its blanks.

    Args:
        data: What the user gave.
        name: What to call it in an error.

    Raises:
        InvalidPayload: It is not JSON; the text says where.
        PayloadTooLarge: It has more than 1 MiB.
    """
    try:
        msgspec.json.decode(data)
        compact = msgspec.json.format(data, indent=-1)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidPayload(f"{name} is not JSON: {_why(data, error)}") from None
    if len(compact) > MIB:
        raise PayloadTooLarge(len(compact), MIB)
    return compact


def line_batches(stream: BinaryIO) -> Iterator[list[tuple[int, bytes]]]:
    """The payloads on a stream's lines with the numbers of the lines, those that came together in batches.

    Blank lines are passed over. The payloads before a line that is no payload come before its error does.
    """
    rest, number = b"", 0
    while True:
        read = getattr(stream, "read1", stream.read)
        chunk = read(_CHUNK)
        lines = (rest + chunk).split(b"\n")
        rest = lines.pop() if chunk else b""
        batch = []
        for line in lines:
            number += 1
            if not line.strip():
                continue
            try:
                batch.append((number, read_payload(line, f"line {number}")))
            except (InvalidPayload, PayloadTooLarge):
                if batch:
                    yield batch
                raise
            if len(batch) == _BATCH:
                yield batch
                batch = []
        if batch:
            yield batch
        if not chunk:
            return


def _why(data: bytes, error: Exception) -> str:
    import json  # noqa: PLC0415 - its errors have places, and nothing else of it is needed

    if not data.strip():
        return "it is empty"
    try:
        json.loads(data)
    except json.JSONDecodeError as found:
        near = found.doc[max(0, found.pos - _NEAR) : found.pos + _NEAR]
        hint = f"; a text needs its quotes: '\"{found.doc}\"'" if found.pos == 0 and found.doc.isalnum() else ""
        return f"line {found.lineno}, column {found.colno}, near {near!r}: {found.msg}{hint}"
    except UnicodeDecodeError as found:
        return f"byte {found.start + 1} is not UTF-8"
    except RecursionError:
        return "it is nested too deeply"
    return one_line(str(error))
