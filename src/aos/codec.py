"""How payloads (JSON) and states (MessagePack) become bytes and back.

Plain values, dataclasses, msgspec structs and pydantic models all do.

Both are read back from bytes for each turn, so that a handler never sees a value that a restart would change.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import lru_cache, partial
from math import isfinite
from typing import Any, get_args

import msgspec

from aos.errors import InvalidPayload


def is_pydantic(cls: Any) -> bool:
    """Whether `cls` is a pydantic model class; pydantic is not imported to find out."""
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(cls, type) and issubclass(cls, pydantic.BaseModel)


def _needs_pydantic(wanted: Any) -> bool:
    """Whether a type is or names a pydantic model, as `list[Model]` and `Model | None` do."""
    return is_pydantic(wanted) or any(_needs_pydantic(part) for part in get_args(wanted))


def _plain(value: Any) -> Any:
    if is_pydantic(type(value)):
        return value.model_dump(mode="json")
    raise TypeError(f"a {type(value).__name__} is not JSON, a dataclass, a pydantic model or a msgspec struct")


def _plain_state(value: Any) -> Any:
    if is_pydantic(type(value)):
        return value.model_dump(mode="python")
    raise TypeError(f"a {type(value).__name__} is not plain data, a dataclass, a pydantic model or a msgspec struct")


_json = msgspec.json.Encoder(enc_hook=_plain)
_pack = msgspec.msgpack.Encoder(enc_hook=_plain_state)


def encode_payload(value: Any) -> bytes:
    """A payload as JSON; `InvalidPayload` if it cannot be."""
    try:
        data = _json.encode(value)
        if b"null" in data:
            _check_numbers(value)
        return data
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidPayload(f"the payload cannot be sent: {error}") from error


def _check_numbers(value: Any) -> None:
    """Raise `ValueError` for a number that JSON has no word for: it would be written as null."""
    if isinstance(value, float) and not isfinite(value):
        raise ValueError(f"JSON has no number {value!r}")
    if isinstance(value, dict):
        for part in value.values():
            _check_numbers(part)
    elif isinstance(value, list | tuple | set | frozenset):
        for part in value:
            _check_numbers(part)
    elif hasattr(value, "__dict__") or hasattr(value, "__slots__"):
        plain = msgspec.to_builtins(value, enc_hook=lambda part: part.model_dump(mode="python"))
        if plain is not value:
            _check_numbers(plain)


@lru_cache(maxsize=1024)
def payload_decoder(wanted: Any) -> Callable[[bytes], Any]:
    """A function that parses JSON and validates it as `wanted` (`Any` only parses).

    The function raises `InvalidPayload`; this one raises it too, for a type that cannot be read from JSON.
    """
    if _needs_pydantic(wanted):
        from pydantic import TypeAdapter, ValidationError

        # By name too, since a model that is sent is written by its fields' names.
        read: Callable[[bytes], Any] = partial(TypeAdapter(wanted).validate_json, by_alias=True, by_name=True)
        wrong: tuple[type[Exception], ...] = (ValidationError,)
    else:
        try:
            read = msgspec.json.Decoder(wanted).decode
        except TypeError as error:
            raise InvalidPayload(f"payloads cannot be read as {wanted!r}: {error}") from error
        wrong = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError)

    def decode(data: bytes) -> Any:
        try:
            return read(data)
        except wrong as error:
            name = "JSON" if wanted is Any else getattr(wanted, "__name__", str(wanted))
            raise InvalidPayload(f"the payload does not fit {name}: {_one_line(error)}") from error

    return decode


def encode_state(value: Any) -> bytes:
    """A state or a step's result as bytes; `InvalidPayload` if it cannot be."""
    try:
        return _pack.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidPayload(f"this cannot be stored: {error}") from error


@lru_cache(maxsize=1024)
def state_decoder(wanted: Any) -> Callable[[bytes], Any]:
    """A function that reads bytes of `encode_state` as `wanted` and raises `InvalidPayload`."""
    validate: Callable[[Any], Any] | None = None
    if _needs_pydantic(wanted):
        from pydantic import TypeAdapter

        validate = partial(TypeAdapter(wanted).validate_python, by_alias=True, by_name=True)
    try:
        unpack = msgspec.msgpack.Decoder(wanted if validate is None else Any).decode
    except TypeError as error:
        raise InvalidPayload(f"stored values cannot be read as {wanted!r}: {error}") from error

    def decode(data: bytes) -> Any:
        try:
            return unpack(data) if validate is None else validate(unpack(data))
        except (msgspec.MsgspecError, ValueError) as error:
            name = getattr(wanted, "__name__", str(wanted))
            raise InvalidPayload(f"the stored value does not fit {name}: {_one_line(error)}") from error

    return decode


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
