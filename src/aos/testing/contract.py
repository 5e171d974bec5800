"""The contract that every store keeps, as tests for whoever writes one.

    class TestMyStore(StoreContract):
        @pytest.fixture
        def make_store(self, tmp_path):
            return lambda limits=None: MyStore(tmp_path / "store", limits=limits)

Each call of `make_store` makes one more store on the same data, as one more process would. Stores read the time from
`aos.clock.wall_clock()`; the scenarios move it and never sleep.
"""

from __future__ import annotations

from aos.testing.contract_leases import LeaseContract
from aos.testing.contract_mail import MailContract
from aos.testing.contract_turns import TurnContract
from aos.testing.contract_world import Clock, MakeStore, Process, Recorder, World, scenario

__all__ = ["Clock", "MakeStore", "Process", "Recorder", "StoreContract", "World", "scenario"]


class StoreContract(MailContract, TurnContract, LeaseContract):
    """Everything that the `Store` and `Inspection` ports promise."""
