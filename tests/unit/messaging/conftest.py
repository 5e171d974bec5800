"""A bus that is cleaned up."""

from collections.abc import AsyncIterator

import pytest

from aos.messaging import MessageBus


@pytest.fixture
async def bus() -> AsyncIterator[MessageBus]:
    """A bus in memory."""
    async with MessageBus() as bus:
        yield bus
