"""Which process this is, and whether another one on the same machine is gone."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Presence:
    """A process, so that it can be told from every other one.

    Args:
        pid: Process id.
        host: Machine, boot and process namespace within which `pid` means something; empty if that is not known.
        born: When the process started, as the system counts it; tells it from a later process of the same id.
    """

    pid: int
    host: str
    born: str

    def is_gone(self, other: Presence) -> bool:
        """Whether another process has certainly ended; False where that cannot be known."""
        if not self.host or other.host != self.host or not other.born:
            return False
        try:
            os.kill(other.pid, 0)
        except ProcessLookupError:
            return True
        except OSError:  # it runs under another user
            return False
        state, born = _state(other.pid)
        return state in {"Z", "X"} or born not in {"", other.born}


def this_process() -> Presence:
    """The process that asks."""
    pid = os.getpid()
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        namespace = (_PROC / "self/ns/pid").readlink()
    except OSError:  # no Linux: then a lease is all that tells
        return Presence(pid, "", "")
    return Presence(pid, f"{socket.gethostname()} {boot} {namespace}", _state(pid)[1])


def _state(pid: int) -> tuple[str, str]:
    """A process's state letter and its start in clock ticks since the boot; empty where they cannot be read."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return "", ""
    # The name of the program comes second, in parentheses, and may contain anything.
    fields = stat.rpartition(")")[2].split()
    return fields[0], fields[19]
