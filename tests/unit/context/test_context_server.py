"""The context server: context, history, memory."""

from typing import Any

import pytest

from aos.context import ContextServer
from aos.errors import InvalidInput, InvalidPayload


async def test_values_are_kept_by_name():
    """get, set, update and clear of the context."""
    server = ContextServer()
    await server.set_context("a", 1)
    await server.update_context({"b": [2]}, c="three")
    assert await server.get_context() == {"a": 1, "b": [2], "c": "three"}
    assert await server.get_context("b") == [2]
    assert await server.get_context("nothing", "default") == "default"
    await server.clear_context()
    assert await server.get_context() == {}


async def test_a_stored_none_is_not_a_missing_value():
    """The default stands in for what is not there only."""
    server = ContextServer()
    await server.set_context("a", None)
    await server.remember("b", None)
    assert await server.get_context("a", 5) is None
    assert await server.recall("b", 5) is None


async def test_what_comes_back_is_a_copy():
    """Changing a value that was given or got changes nothing inside."""
    server = ContextServer()
    value: dict[str, Any] = {"list": [1]}
    await server.set_context("a", value)
    value["list"].append(2)
    (await server.get_context("a"))["list"].append(3)
    assert await server.get_context("a") == {"list": [1]}


async def test_an_update_is_all_or_nothing():
    """One value that is no data leaves all as they were."""
    server = ContextServer()
    with pytest.raises(InvalidPayload):
        await server.update_context({"a": 1, "b": object()})
    assert await server.get_context() == {}


async def test_the_history_keeps_the_latest_events():
    """Oldest first, at most `history_limit`; all are counted."""
    server = ContextServer(history_limit=3)
    for n in range(5):
        await server.add_event({"n": n})
    assert await server.get_history() == [{"n": 2}, {"n": 3}, {"n": 4}]
    assert await server.get_history(2) == [{"n": 3}, {"n": 4}]
    assert await server.get_history(0) == []
    assert server.events_seen == 5


async def test_memory_outlives_the_context():
    """remember, recall, forget; clear_context leaves memory and history alone."""
    server = ContextServer()
    await server.remember("name", "Ada")
    await server.add_event({"n": 1})
    await server.clear_context()
    assert await server.recall() == {"name": "Ada"}
    assert await server.recall("name") == "Ada"
    assert await server.forget("name")
    assert not await server.forget("name")
    assert len(await server.get_history()) == 1


async def test_memory_is_bounded():
    """One entry too many is refused; replacing one is not."""
    server = ContextServer(memory_limit=2)
    await server.remember("a", 1)
    await server.remember("b", 2)
    await server.remember("a", 3)
    with pytest.raises(InvalidInput, match="limit of 2"):
        await server.remember("c", 4)


async def test_a_snapshot_restores_everything():
    """Another server takes over all of it; an empty snapshot clears."""
    server = ContextServer()
    await server.set_context("a", {"deep": [1]})
    await server.remember("m", 1)
    await server.add_event({"n": 1})
    other = ContextServer()
    other.restore(server.snapshot())
    assert other.snapshot() == server.snapshot()
    assert other.events_seen == 1
    other.restore({})
    assert other.snapshot() == ContextServer().snapshot()
