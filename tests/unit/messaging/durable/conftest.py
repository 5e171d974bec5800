"""Tests of this folder run in virtual time, over both stores."""

from tests.systems import nothing_left, pytest_asyncio_loop_factories, store

__all__ = ["nothing_left", "pytest_asyncio_loop_factories", "store"]
