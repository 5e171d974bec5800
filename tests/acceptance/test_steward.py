"""`aos steward` as a user runs it: real processes, killed at any moment, on a real folder."""

import json
import random
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import psutil
import pytest

from aos.cli.steward import home_of
from aos.coding.folder import digest
from aos.coding.reviewer import FileState
from aos.stores import open_store

pytestmark = pytest.mark.acceptance

AOS = Path(sys.executable).with_name("aos")
FILES = 80
KILLS = 10


def source(number, version=0):
    """A module whose complexity and findings depend on its number."""
    branches = "\n".join(f"    if value == {n}:\n        return {n + version}" for n in range(number % 14))
    return f'"""Module {number}."""\nimport os\n\n\ndef choose(value):\n{branches}\n    return value\n'


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with a project in it; the commands are called beside it."""
    monkeypatch.chdir(tmp_path)
    for number in range(FILES):
        path = tmp_path / "src" / f"package{number % 7}" / f"module{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source(number))
    (tmp_path / "src" / "broken.py").write_text("def f(:\n")
    return tmp_path / "src"


def start(*options):
    """Start the steward."""
    return subprocess.Popen(
        [AOS, "steward", "src", "--json", *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process, timeout=50):
    """Wait for its end; the last line that it printed."""
    output, errors = process.communicate(timeout=timeout)
    assert process.returncode == 0, errors
    return json.loads(output.splitlines()[-1])


def kill(process, seconds):
    """Kill it after so many seconds, unless it has ended; returns whether it was killed, and its children."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.communicate()
        return True, children
    process.communicate()
    return False, []


async def reviews(project):
    """What every reviewer remembers, by path."""
    store = open_store(f"sqlite:{home_of(project) / 'aos.db'}")
    await store.open()
    try:
        agents = await store.agents(kind="Reviewer", limit=10_000)
    finally:
        await store.close()
    return {agent.key: msgspec.convert(agent.state, FileState) for agent in agents}


def check_whole(project):
    """A report, if there is one, was written to its end."""
    for name, end in (("report.md", "\n"), ("report.html", "</html>\n")):
        report = home_of(project) / name
        assert not report.exists() or report.read_text().endswith(end)


async def check_reviewed(project, expected):
    """Every file was reviewed as often as expected, last with the content that it has, and is in the report."""
    found = await reviews(project)
    paths = {path.relative_to(project).as_posix(): path for path in project.rglob("*.py")}
    assert found.keys() == paths.keys()
    for path, state in found.items():
        assert state.hash == digest(paths[path].read_bytes())
        assert (path, state.reviews) == (path, expected(path))
        assert len({look.hash for look in state.looks}) == len(state.looks) == state.reviews
    report = (home_of(project) / "report.md").read_text()
    assert [path for path in paths if f"`{path}`" not in report] == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_a_pass_survives_any_number_of_kills(project, seed):
    """Killed again and again in the middle, it ends with every content reviewed once and none forgotten."""
    chance = random.Random(seed)
    killed = 0
    for _ in range(KILLS):
        was_killed, children = kill(start("--once"), chance.uniform(0.1, 1.5))
        killed += was_killed
        check_whole(project)
        assert psutil.wait_procs(children, timeout=20)[1] == []
    assert killed
    last = finish(start("--once"))
    assert (last["files"], last["failed"]) == (FILES + 1, 0)
    await check_reviewed(project, lambda path: 1)


@pytest.mark.slow
async def test_changes_between_kills_are_reviewed_once(project):
    """What is edited between two kills gets one more review for each content that was seen, and the rest none."""
    chance = random.Random(7)
    finish(start("--once"))
    edited = [f"package{n % 7}/module{n}.py" for n in range(0, FILES, 3)]
    for path in edited:
        (project / path).write_text(source(99, version=1))
    for _ in range(4):
        kill(start("--once"), chance.uniform(0.3, 1.0))
        check_whole(project)
    finish(start("--once"))
    await check_reviewed(project, lambda path: 2 if path in edited else 1)


def test_once_prints_the_worst_findings(project):
    """`--once` ends by itself with the ten worst findings, the broken file among them, and names its reports."""
    last = finish(start("--once"))
    assert len(last["findings"]) == 10
    assert last["findings"][0]["rule"] == "syntax-error"
    assert all(Path(report).exists() for report in last["reports"])
    assert (last["reviewed"], last["unchanged"]) == (FILES + 1, 0)


def test_a_second_start_reviews_nothing(project):
    """When nothing has changed, the second start finds everything as it was."""
    finish(start("--once"))
    last = finish(start("--once"))
    assert (last["reviewed"], last["unchanged"]) == (0, FILES + 1)


def test_a_saved_file_is_reviewed_while_it_watches(project):
    """A change is told with what got worse; SIGTERM ends the watch cleanly, and nothing is left running."""
    process = start()
    try:
        assert json.loads(process.stdout.readline())["event"] == "pass"
        (project / "package1" / "module1.py").write_text("import os\nimport re\n\nexec('1')\n")
        review = json.loads(process.stdout.readline())
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert (review["path"], review["verdict"], process.returncode) == ("package1/module1.py", "worse", 0)
    assert psutil.wait_procs(children, timeout=20)[1] == []


async def test_two_at_once_share_the_work(project):
    """Two started on one folder both end well, and no content is reviewed twice."""
    first, second = start("--once"), start("--once")
    assert finish(first)["files"] == finish(second)["files"] == FILES + 1
    await check_reviewed(project, lambda path: 1)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["nothing"], "there is no folder"),
        (["src", "--out", "src/broken.py/x"], "no report can be written"),
        (["src", "--store", "redis:x"], "names no store"),
    ],
)
def test_bad_input_is_one_line(project, arguments, text):
    """What cannot be reviewed or written is told in one line, with exit status 2."""
    done = subprocess.run([AOS, "steward", "--once", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert text in done.stderr
    assert len(done.stderr.splitlines()) == 1
