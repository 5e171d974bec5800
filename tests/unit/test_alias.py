"""`AgentOperatingSystem.…` is `aos.…`, the same modules under the name that the documents use."""

import importlib
import subprocess
import sys
from unittest.mock import patch

import pytest

import AgentOperatingSystem
import aos
import aos.agents
from aos.agents import GenericPurposeDrivenAgent

ROOMS = ["agents", "messaging", "orchestration", "coding", "storage", "models", "context", "stores", "errors"]


def _run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_is_the_same_module(room: str) -> None:
    """No room is loaded twice."""
    assert importlib.import_module(f"AgentOperatingSystem.{room}") is importlib.import_module(f"aos.{room}")


def test_the_root_is_the_same_module() -> None:
    """What the root exports is there under the long name."""
    from AgentOperatingSystem import AgentOS

    assert AgentOperatingSystem is aos
    assert AgentOS is aos.AgentOS


def test_files_inside_rooms_are_the_same_modules() -> None:
    """A file in a room is not loaded a second time either, whichever name comes first."""
    code = "import AgentOperatingSystem.kernel.turn as a, aos.kernel.turn as b; assert a is b"
    assert _run(code).stderr == ""


def test_modules_keep_their_own_names() -> None:
    """The alias leaves no trace in the modules, so that pickles and reprs carry the short name."""
    module = importlib.import_module("AgentOperatingSystem.agents.purpose")
    assert (module.__name__, module.__spec__.name, module.__package__) == (
        "aos.agents.purpose",
        "aos.agents.purpose",
        "aos.agents",
    )
    assert GenericPurposeDrivenAgent.__module__ == "aos.agents.purpose"


def test_a_patch_under_the_long_name_reaches_the_real_one() -> None:
    """`unittest.mock.patch` with the long name replaces what AOS itself uses, and puts it back."""
    with patch("AgentOperatingSystem.agents.GenericPurposeDrivenAgent") as double:
        assert aos.agents.GenericPurposeDrivenAgent is double
    assert aos.agents.GenericPurposeDrivenAgent is GenericPurposeDrivenAgent


@pytest.mark.parametrize("name", ["AgentOperatingSystem.nosuch", "AgentOperatingSystem.topic.nosuch"])
def test_a_room_that_is_not_there_is_named(name: str) -> None:
    """A missing module is reported under the name that was asked for."""
    with pytest.raises(ModuleNotFoundError, match=name):
        importlib.import_module(name)


def test_an_error_inside_a_room_is_not_hidden() -> None:
    """A module that fails while it is loaded fails with its own error, and leaves nothing half loaded."""
    code = (
        "import sys, types, aos; sys.modules['msgspec'] = None\n"
        "for name in [n for n in sys.modules if n.startswith('aos.')]: del sys.modules[name]\n"
        "import AgentOperatingSystem\n"
        "try:\n    import AgentOperatingSystem.codec\n"
        "except ModuleNotFoundError as error: print(error.name, 'AgentOperatingSystem.codec' in sys.modules)"
    )
    done = _run(code)
    assert done.stdout.split() == ["msgspec", "False"], done.stderr


def test_what_starts_like_the_alias_is_left_alone() -> None:
    """Only names below `AgentOperatingSystem.` are taken."""
    with pytest.raises(ModuleNotFoundError, match="AgentOperatingSystemX"):
        importlib.import_module("AgentOperatingSystemX.agents")
