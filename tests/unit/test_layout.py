"""The rooms of the system, what each may import, and what a bare `import aos` costs."""

import ast
import json
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "aos"

GROUND = ["clock", "codec", "entropy", "errors", "message", "topic"]
ROOMS = [
    *("agents", "cli", "coding", "context", "kernel", "messaging", "models", "orchestration"),
    *("resilience", "serving", "simulation", "storage", "stores", "testing"),
]
ALONE: frozenset[str] = frozenset()
CODEC = frozenset({"msgspec", "pydantic"})
LIGHT = {
    **dict.fromkeys(["clock", "entropy", "errors", "topic", "simulation"], ALONE),
    **dict.fromkeys(["codec", "message", "resilience", "stores", "messaging", "context", "agents"], CODEC),
    "kernel": CODEC | {"croniter"},  # imported by the first cron timer
}
HEAVY = ["croniter", "httpx", "pydantic", "radon", "rich", "sqlite3", "typer", "vulture", "watchfiles"]


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    """Every import in the source, those inside functions included."""
    return grimp.build_graph("aos", include_external_packages=True, cache_dir=None)


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_is_there_and_states_its_duty(room: str) -> None:
    """Each room of the design is a package whose docstring says what it is for."""
    assert ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text()))


def test_there_is_nothing_beside_the_rooms() -> None:
    """A new room or ground file is written into the table before it is used."""
    found = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert found == {*ROOMS, *GROUND, "__init__", "__main__"}


def _lint(source: Path, *contracts: str) -> subprocess.CompletedProcess[str]:
    """Run import-linter over the packages in `source`, with all contracts or the named ones."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-logo", "--no-cache"]
    command += ["--config", str(ROOT / "pyproject.toml"), *(f"--contract={name}" for name in contracts)]
    return subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)


def test_the_import_contracts_hold() -> None:
    """Imports point down only, and the other contracts of pyproject.toml hold."""
    done = _lint(ROOT / "src")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("file", "imported", "contract"),
    [
        ("stores/planted.py", "aos.resilience", "rooms"),
        ("cli/planted.py", "aos.testing", "rooms"),
        ("context/planted.py", "aos.messaging", "rooms"),
        ("stores/records.py", "aos.stores.memory", "cycles"),
        ("models/planted.py", "aos.kernel", "models-alone"),
        ("storage/planted.py", "aos.resilience", "storage-alone"),
        ("agents/planted.py", "aos.models", "agents-think-elsewhere"),
        ("coding/planted.py", "aos.storage", "blobs-are-served"),
        ("kernel/planted.py", "aos.stores.sqlite", "kernel-port"),
        ("kernel/planted.py", "aos.stores", "kernel-port"),
        ("simulation/planted.py", "aos.errors", "simulation-alone"),
        ("messaging/planted.py", "rich", "light-rooms"),
    ],
)
def test_a_forbidden_import_is_found(file: str, imported: str, contract: str, tmp_path: Path) -> None:
    """An import that the design forbids breaks its contract, even inside a function."""
    shutil.copytree(PACKAGE, tmp_path / "aos", ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "aos" / file).open("a") as planted:
        planted.write(f"\n\ndef planted():\n    import {imported}\n")
    done = _lint(tmp_path, contract)
    assert "1 broken" in done.stdout, done.stdout


@pytest.mark.parametrize("room", LIGHT)
def test_a_light_room_needs_no_package_but_its_own(room: str, graph: grimp.ImportGraph) -> None:
    """Rooms that everybody loads import the standard library and at most the two codec libraries."""
    modules = {f"aos.{room}", *graph.find_descendants(f"aos.{room}")}
    imported = {found for module in modules for found in graph.find_modules_directly_imported_by(module)}
    outside = {name.partition(".")[0] for name in imported} - sys.stdlib_module_names - {"aos"}
    assert outside <= LIGHT[room]


@pytest.mark.parametrize("module", ["aos", "aos.agents", "aos.messaging", "aos.orchestration", "aos.coding"])
def test_importing_the_library_loads_nothing_heavy(module: str) -> None:
    """Neither an optional package nor sqlite3 nor pydantic is loaded before it is used."""
    code = f"import json, sys, {module}; print(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert set(HEAVY).isdisjoint(json.loads(done.stdout))


def test_only_the_command_line_reads_the_environment() -> None:
    """No room but `aos.cli` looks at an environment variable."""
    reader = re.compile(r"\bos\.(environb?|getenv)\b|\bfrom os import .*\b(environ|getenv)\b")
    files = [file for file in PACKAGE.rglob("*.py") if file.relative_to(PACKAGE).parts[0] not in {"cli", "testing"}]
    assert [file.name for file in files if reader.search(file.read_text())] == []


def test_constraints_carry_no_address() -> None:
    """constraints.txt is names and exact versions, so that any index can serve them."""
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[a-z0-9-]+==[\w.]+", line)] == []


def test_constraints_pin_everything_installed() -> None:
    """What the tests run on is what constraints.txt says, dependencies of dependencies included."""
    pins = dict(re.findall(r"^([a-z0-9-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    installed = {re.sub(r"[-_.]+", "-", d.name).lower(): d.version for d in metadata.distributions()}
    for tool in ("agent-operating-system", "pip", "setuptools"):
        installed.pop(tool, None)
    assert installed == {name: pins.get(name) for name in installed}
