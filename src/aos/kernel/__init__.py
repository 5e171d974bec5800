"""The kernel: mailboxes, turns, steps, timers, leases, supervision, dead letters, over the `Store` port."""

from aos.kernel.behaviour import Behaviour
from aos.kernel.runtime import Runtime, RuntimeStatistics
from aos.kernel.turn import OpenTurn

__all__ = ["Behaviour", "OpenTurn", "Runtime", "RuntimeStatistics"]
