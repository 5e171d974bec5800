"""Topics: names in tokens divided by dots; patterns with `*` (one token) and `>` (one token or more, at the end)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Generic, TypeVar

from aos.errors import InvalidTopic

T = TypeVar("T")

LIMIT = 255
_TOKEN = re.compile(r"[^\s.*>\x00-\x1f\x7f-\x9f\ud800-\udfff]+")
_CACHE_LIMIT = 10_000


@lru_cache(maxsize=4096)
def check_topic(topic: str) -> str:
    """Return `topic`, or raise `InvalidTopic` with the reason."""
    if not isinstance(topic, str):
        raise InvalidTopic(repr(topic), "is not text")
    if topic.startswith("aos.") and not topic.startswith("aos.dead."):
        raise InvalidTopic(topic, "is reserved: names below 'aos.' belong to the system")
    _check_tokens(topic, topic.split("."))
    return topic


def check_pattern(pattern: str) -> str:
    """Return `pattern`, or raise `InvalidTopic` with the reason."""
    if not isinstance(pattern, str):
        raise InvalidTopic(repr(pattern), "is not text")
    tokens = pattern.split(".")
    if tokens and tokens[-1] == ">":
        tokens = tokens[:-1]
    _check_tokens(pattern, [token for token in tokens if token != "*"] if tokens else [])
    return pattern


def _check_tokens(topic: str, tokens: list[str]) -> None:
    if not topic:
        raise InvalidTopic(topic, "is empty")
    if len(topic) > LIMIT:
        raise InvalidTopic(topic[:40] + "…", f"has {len(topic)} characters, the limit is {LIMIT}")
    for token in tokens:
        if not token:
            raise InvalidTopic(topic, "has an empty part: write names divided by single dots")
        if not _TOKEN.fullmatch(token):
            raise InvalidTopic(
                topic, f"has an illegal part {token!r}: no spaces, control characters, '*' or '>' inside a name"
            )


def matches(pattern: str, topic: str) -> bool:
    """Whether a topic is in a pattern; both must be legal."""
    if pattern == topic:
        return True
    wanted, given = pattern.split("."), topic.split(".")
    for i, token in enumerate(wanted):
        if token == ">":
            return len(given) > i
        if i >= len(given) or (token != "*" and token != given[i]):
            return False
    return len(wanted) == len(given)


class TopicTable(Generic[T]):
    """Patterns with values; `match` finds the values whose pattern has a topic, in the order they were added."""

    def __init__(self) -> None:
        self._entries: list[tuple[str, T]] = []
        self._cache: dict[str, tuple[T, ...]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[tuple[str, T]]:
        return iter(self._entries)

    def add(self, pattern: str, value: T) -> None:
        """Add a value under a pattern; the same pair twice is there twice."""
        self._entries.append((check_pattern(pattern), value))
        self._cache.clear()

    def remove(self, pattern: str, value: T) -> None:
        """Take one pair away; `ValueError` if it is not there."""
        self._entries.remove((pattern, value))
        self._cache.clear()

    def match(self, topic: str) -> tuple[T, ...]:
        """The values for a topic. A topic is checked the first time it is seen."""
        found = self._cache.get(topic)
        if found is None:
            check_topic(topic)
            found = tuple(value for pattern, value in self._entries if matches(pattern, topic))
            if len(self._cache) >= _CACHE_LIMIT:
                self._cache.clear()
            self._cache[topic] = found
        return found
