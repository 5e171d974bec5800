"""AOS's own stores keep the contract that third parties get."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from aos.stores.memory import Memory, MemoryStore
from aos.stores.sqlite import SqliteStore
from aos.testing.contract import MakeStore, StoreContract

STORES: dict[str, Callable[[Path], MakeStore]] = {
    "memory": lambda _: partial(MemoryStore, shared=Memory()),
    "sqlite": lambda folder: partial(SqliteStore, folder / "store.db"),
}


def _maker(make: Callable[..., object]) -> MakeStore:
    return lambda limits=None: make(limits=limits)


@pytest.fixture(params=STORES)
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> MakeStore:
    """A store of each engine; one more on the same data with each call."""
    return _maker(STORES[request.param](tmp_path))


class TestStores(StoreContract):
    """Every store passes every scenario."""
