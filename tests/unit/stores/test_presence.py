"""Which processes are gone for certain."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from aos.stores.presence import Presence, this_process

HERE = this_process()

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems do not tell: leases do")


def _of(pid: int) -> Presence:
    stat = Path(f"/proc/{pid}/stat").read_text()
    return Presence(pid, HERE.host, stat.rpartition(")")[2].split()[19])


def test_a_running_process_is_not_gone() -> None:
    """Neither this one nor its parent."""
    assert not HERE.is_gone(HERE)
    assert not HERE.is_gone(_of(os.getppid()))


def test_a_killed_process_is_gone() -> None:
    """At once, also before its parent has asked for its exit status."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    there = _of(child.pid)
    assert not HERE.is_gone(there)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert HERE.is_gone(there), "a zombie runs nothing"
    child.communicate()
    assert HERE.is_gone(there)


def test_a_later_process_of_the_same_number_is_another() -> None:
    """Process ids are used again; the start time tells."""
    assert HERE.is_gone(replace(HERE, born="1"))


@pytest.mark.parametrize("unknown", [{"host": "elsewhere"}, {"host": ""}, {"born": ""}])
def test_what_cannot_be_known_is_not_claimed(unknown: dict[str, str]) -> None:
    """A process of another machine or container, or without a start time, may run."""
    assert not HERE.is_gone(replace(HERE, pid=2**22 - 1, **unknown))
