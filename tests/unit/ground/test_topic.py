"""Topics and patterns."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aos.errors import InvalidTopic
from aos.topic import TopicTable, check_pattern, check_topic, matches

TOKENS = st.sampled_from(["a", "b", "c", "long-name_1", "ü"])
TOPICS = st.lists(TOKENS, min_size=1, max_size=4).map(".".join)
PATTERNS = st.tuples(st.lists(st.one_of(TOKENS, st.just("*")), max_size=3), st.booleans()).map(
    lambda parts: ".".join([*parts[0], *([">"] if parts[1] or not parts[0] else [])])
)


def _expression(pattern: str) -> re.Pattern[str]:
    """What a pattern means, said in another way."""
    parts = [{"*": r"[^.]+", ">": r".+"}.get(token, re.escape(token)) for token in pattern.split(".")]
    return re.compile(r"\.".join(parts))


@given(PATTERNS, TOPICS)
def test_a_pattern_means_what_it_says(pattern, topic):
    """`*` is one token, `>` is one or more at the end, everything else is itself."""
    assert check_pattern(pattern) == pattern
    assert check_topic(topic) == topic
    assert matches(pattern, topic) == bool(_expression(pattern).fullmatch(topic))


@given(st.lists(st.tuples(PATTERNS, st.integers(0, 3)), max_size=8), st.lists(TOPICS, max_size=5))
def test_a_table_finds_what_its_patterns_match(entries, topics):
    """In the order in which they were added, also after some were taken away."""
    table: TopicTable[int] = TopicTable()
    for pattern, value in entries:
        table.add(pattern, value)
    for _ in range(2):
        for topic in topics:
            assert table.match(topic) == tuple(v for p, v in entries if matches(p, topic))
        if entries:
            table.remove(*entries.pop(0))


@pytest.mark.parametrize("topic", ["a", "a.b.c", "orders.42", "ü.日本", "A-b_c:d/e", "aos.dead.x", "x" * 255])
def test_legal_topics(topic):
    """Any printable text in tokens divided by dots."""
    assert check_topic(topic) == topic


@pytest.mark.parametrize(
    ("topic", "why"),
    [
        ("", "is empty"),
        ("a..b", "empty part"),
        (".a", "empty part"),
        ("a.", "empty part"),
        ("a b", "illegal part"),
        ("a.*", "illegal part"),
        ("a.>", "illegal part"),
        ("a\x00", "illegal part"),
        ("a\u2028b", "illegal part"),
        ("\ud800", "illegal part"),
        ("x" * 256, "limit is 255"),
        ("aos.reply", "reserved"),
        (None, "is not text"),
        (5, "is not text"),
    ],
)
def test_illegal_topics_say_why(topic, why):
    """The text names the topic and the reason."""
    with pytest.raises(InvalidTopic, match=why) as caught:
        check_topic(topic)
    assert caught.value.exit_status == 2


@pytest.mark.parametrize("pattern", ["", "a.>.b", "a>", "a*", "**", "a..*", ">.", "* *"])
def test_illegal_patterns(pattern):
    """Wildcards are whole tokens, and `>` is the last."""
    with pytest.raises(InvalidTopic):
        check_pattern(pattern)


def test_an_illegal_topic_is_never_matched():
    """A table checks what it is asked."""
    table: TopicTable[int] = TopicTable()
    table.add(">", 1)
    with pytest.raises(InvalidTopic):
        table.match("a b")
