"""The lint is what keeps time, chance and tasks under the loop's control, so the lint itself is tested."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text())

CLOCK = [
    *(f"time.{name}" for name in ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "sleep")),
    *(f"datetime.datetime.{name}" for name in ("now", "utcnow", "today")),
    "datetime.date.today",
]
CHANCE = [
    *(f"random.{name}" for name in ("random", "randint", "choice", "shuffle", "sample", "uniform", "seed")),
    *(f"uuid.{name}" for name in ("uuid1", "uuid4")),
    *("os.urandom", "secrets.token_hex", "secrets.randbelow"),
]
LOOP = [f"asyncio.{name}" for name in ("sleep", "create_task", "ensure_future", "get_event_loop")]
BANNED = [*CLOCK, *CHANCE, *LOOP]


def _planted(name: str) -> str:
    """A line that uses `name` the way that is easiest to miss: imported by its own name, then called."""
    module, _, rest = name.partition(".")
    first, _, method = rest.partition(".")
    return f"from {module} import {first} as _{module}_{first}; _{module}_{first}{method and '.' + method}()"


def _flagged(file: str, names: list[str]) -> dict[str, str]:
    """The names among `names` that ruff refuses in `file`, each with what it says."""
    source = "\n".join(_planted(name) for name in names)
    command = [sys.executable, "-m", "ruff", "check", "--output-format=json", "--stdin-filename", file, "-"]
    done = subprocess.run(command, cwd=ROOT, input=source, capture_output=True, text=True, check=False)
    found = [finding for finding in json.loads(done.stdout) if finding["code"] == "TID251"]
    return {names[finding["location"]["row"] - 1]: finding["message"] for finding in found}


@pytest.fixture(scope="module")
def in_the_kernel() -> dict[str, str]:
    """What ruff says about a file of the kernel that uses every banned name."""
    return _flagged("src/aos/kernel/planted.py", BANNED)


@pytest.mark.parametrize("name", BANNED)
def test_a_banned_name_is_flagged(name: str, in_the_kernel: dict[str, str]) -> None:
    """Time, chance and ownerless tasks are refused in a room, and the message says what to use instead."""
    assert re.search(r"aos\.clock|aos\.entropy|TaskGroup|ctx\.sleep|get_running_loop", in_the_kernel[name])


@pytest.mark.parametrize("room", ["agents", "messaging", "stores", "orchestration", "coding", "cli", "testing"])
def test_the_ban_holds_in_every_room(room: str) -> None:
    """No room but the simulator is exempt from the ban."""
    assert set(_flagged(f"src/aos/{room}/planted.py", BANNED)) == set(BANNED)


@pytest.mark.parametrize("file", ["clock.py", "entropy.py", "simulation/loop.py"])
def test_the_sources_of_time_and_chance_are_exempt(file: str) -> None:
    """The clock, the entropy port and the simulator may read what they stand for."""
    assert _flagged(f"src/aos/{file}", BANNED) == {}


def test_loop_deadlines_are_allowed() -> None:
    """What goes through the running loop is not banned, nor is the type of a seeded generator."""
    allowed = ["asyncio.timeout", "asyncio.TaskGroup", "asyncio.get_running_loop", "random.Random"]
    assert _flagged("src/aos/kernel/planted.py", allowed) == {}


def test_every_ignored_rule_has_its_reason() -> None:
    """A rule that is switched off in pyproject.toml has the reason on its line."""
    lint = CONFIG["tool"]["ruff"]["lint"]
    ignored = [*lint["ignore"], *(rule for rules in lint["per-file-ignores"].values() for rule in rules)]
    explained = re.findall(r'^    "([A-Z]+\d*)", +# \S', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert sorted(explained) == sorted(ignored)


@pytest.mark.parametrize("file", sorted((ROOT / "src").rglob("*.py")), ids=lambda file: file.stem)
def test_every_suppression_names_its_rule_and_reason(file: Path) -> None:
    """A `noqa` or a `type: ignore` in the source names what it silences and why: `# noqa: RULE - reason`."""
    suppressions = re.findall(r"# (?:noqa|type: ignore|pragma).*", file.read_text())
    reasoned = re.compile(r"# (?:noqa: [A-Z]+\d+(?:, ?[A-Z]+\d+)*|type: ignore\[[a-z, -]+\]) +(?:- |# )\w")
    assert [line for line in suppressions if not reasoned.match(line)] == []
