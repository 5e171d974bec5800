"""Tests of this folder run in virtual time: an hour of waiting takes none, and waiting for nothing is an error."""

import asyncio
from collections.abc import Callable, Mapping

import pytest

from tests.virtual import VirtualLoop


@pytest.hookimpl
def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Give every async test of this folder the virtual loop."""
    return {"virtual": VirtualLoop}


@pytest.fixture(autouse=True)
async def _nothing_is_left_behind():
    """No test ends with a task that goes on."""
    yield
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left, f"tasks were left behind: {left}"
