"""Measuring real sources with the real tools."""

import asyncio
import os
import signal
import sys

import psutil
import pytest

from aos.coding.examine import examine
from aos.coding.measure import Bench, MeasurementFailed

UGLY = b'''"""Ugly."""
import os
import subprocess


def run(command, unused):
    """Run."""
    return subprocess.call(command, shell=True)
    print("never")
'''


@pytest.fixture
async def bench(tmp_path):
    """A bench whose copies can be looked at, and whose processes must be gone afterwards."""
    async with Bench(linger=0.01, scratch=tmp_path) as bench:
        yield bench
    assert list(tmp_path.iterdir()) == []
    assert [child for child in psutil.Process().children(recursive=True) if "examine" in str(child.cmdline())] == []


async def test_every_category_is_measured(bench):
    """Security, dead code of both tools, complexity and types are found in one look."""
    metrics = await bench.measure("a.py", UGLY)
    assert {"S602", "F401", "V201", "V107", "ANN201"} <= metrics.rules.keys()
    assert {"security", "dead-code", "types"} <= metrics.counts.keys()
    assert 0 < metrics.score < 0.8
    assert metrics.complexity.functions == 1
    assert metrics.lines == 7
    assert 0 < (metrics.maintainability or 0) <= 100


async def test_good_code_scores_one(bench):
    """Code in which no tool finds anything has the best score."""
    metrics = await bench.measure("a.py", b'"""A."""\n\n\ndef one() -> int:\n    """Give one."""\n    return 1\n')
    assert (metrics.score, metrics.issues) == (1.0, [])


async def test_complexity_is_counted(bench):
    """A function with many branches has its complexity as a number and as an issue."""
    branches = "\n".join(f"    if x == {n}:\n        return {n}" for n in range(12))
    metrics = await bench.measure("a.py", f"def f(x):\n{branches}\n")
    assert (metrics.complexity.highest, metrics.complexity.mean) == (13, 13.0)
    assert metrics.counts["complexity"] >= 1


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"def f(:\n", "syntax-error"),
        (b"x = 1\0\n", "syntax-error"),
        (b"x = '\xff'\n", "not-text"),
        (b"# coding: no-such-codec\n", "not-text"),
        (b"x = 1\n" * 500_000, "too-large"),
        (b"x = " + b"-" * 20_000 + b"1\n", "too-deep"),
        (b"x = " + b"1 + " * 50_000 + b"1\n", "too-deep"),
        (b"x = " + b"(" * 5_000 + b")" * 5_000 + b"\n", "newer-syntax"),
    ],
    ids=["syntax", "null", "encoding", "codec", "large", "unary", "sum", "brackets"],
)
async def test_what_cannot_be_read_is_an_issue(bench, content, rule):
    """A file that a tool cannot read has an issue that says so, and its neighbours are measured."""
    bad, good = await asyncio.gather(bench.measure("bad.py", content), bench.measure("good.py", b"import os\n"))
    assert rule in bad.rules
    assert "F401" in good.rules
    assert rule == "newer-syntax" or bad.score == 0.0


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf'''A module.'''\n", "x: int = 1\n"])
async def test_small_sources_are_measured(bench, content):
    """Nothing at all, blank lines, a byte-order mark and text are sources."""
    assert (await bench.measure("a.py", content)).score > 0.9


async def test_a_declared_encoding_is_honoured(bench):
    """A source in Latin-1 that says so is text."""
    metrics = await bench.measure("a.py", "# coding: latin-1\nimport os  # é\n".encode("latin-1"))
    assert list(metrics.rules) == ["F401", "D100"] or set(metrics.rules) == {"F401", "D100"}


async def test_tests_are_judged_as_tests(bench):
    """An assert without docstring is fine in a test and is not elsewhere."""
    source = b"def test_it():\n    assert 1 + 1 == 2\n"
    test, module = await asyncio.gather(bench.measure("tests/unit/test_it.py", source), bench.measure("it.py", source))
    assert (test.score, test.issues) == (1.0, [])
    assert {"S101", "D103", "ANN201"} <= module.rules.keys()


async def test_an_import_in_a_package_is_no_dead_code(bench):
    """What `__init__.py` imports under its own name is its interface."""
    source = b'"""A package."""\nfrom a.b import c as c\n'
    assert (await bench.measure("a/__init__.py", source)).score == 1.0


async def test_requests_that_come_together_are_measured_together(tmp_path):
    """Many requests at once share one process: they all report the time of the same batch."""
    async with Bench(concurrency=1, linger=0.2) as bench:
        found = await asyncio.gather(*(bench.measure(f"{n}.py", f"x = {n}\n") for n in range(50)))
    assert len({metrics.duration for metrics in found}) == 1


async def test_each_request_gets_its_own_answer():
    """Over several batches at once no answer is another's."""
    async with Bench(batch=7, linger=0.001) as bench:
        sources = {f"{n}.py": "import os\n" * (n % 5) + "x = 1\n" for n in range(60)}
        found = await asyncio.gather(*(bench.measure(path, source) for path, source in sources.items()))
    assert [metrics.lines for metrics in found] == [n % 5 + 1 for n in range(60)]


async def test_a_cancelled_caller_harms_nobody(bench):
    """The others of a batch get their answers when one of them goes away."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(bench.measure(f"{n}.py", b"import os\n")) for n in range(5)]
        group.create_task(asyncio.to_thread(tasks[2].cancel))
    assert [task.result().rules["F401"] for n, task in enumerate(tasks) if n != 2] == [1] * 4


async def test_a_killed_measuring_process_is_replaced(bench):
    """After `kill -9` of the measuring process the next file is measured as before."""
    first = await bench.measure("a.py", UGLY)
    for child in psutil.Process().children():
        if "examine.py" in " ".join(child.cmdline()):
            child.send_signal(signal.SIGKILL)
    assert (await bench.measure("a.py", UGLY)).rules == first.rules


async def test_a_silent_tool_is_given_up(monkeypatch, tmp_path):
    """A measuring process that does not answer costs a clear error, not the caller's patience."""
    program = tmp_path / "silent.py"
    program.write_text("import sys; sys.stdin.read()")
    monkeypatch.setattr("aos.coding.examiner._PROGRAM", program)
    async with Bench(linger=0.001, patience=0.2) as bench:
        with pytest.raises(MeasurementFailed, match=r"silent for 0\.2 s"):
            await bench.measure("a.py", b"x = 1\n")


async def test_a_dying_tool_costs_its_own_file_only(monkeypatch, tmp_path):
    """A file that kills the measuring process fails; every other file of its batch is measured."""
    program = tmp_path / "mortal.py"
    program.write_text(
        "import sys, json, os; sys.path.insert(0, os.path.dirname(os.environ['EXAMINE']));"
        "import examine; whole = examine.examine\n"
        "def examine_or_die(name, source):\n"
        "    if name == '7.py': os._exit(9)\n"
        "    return whole(name, source)\n"
        "examine.examine = examine_or_die; examine.serve(sys.stdin.buffer, sys.stdout.buffer)\n"
    )
    monkeypatch.setenv("EXAMINE", sys.modules[examine.__module__].__file__ or "")
    monkeypatch.setattr("aos.coding.examiner._PROGRAM", program)
    async with Bench(concurrency=1, linger=0.05) as bench:
        calls = (bench.measure(f"{n}.py", b"import os\n") for n in range(12))
        found = await asyncio.gather(*calls, return_exceptions=True)
    assert [n for n, answer in enumerate(found) if isinstance(answer, MeasurementFailed)] == [7]
    assert "status 9" in str(found[7])


async def test_a_missing_ruff_is_named(monkeypatch):
    """Without ruff the bench does not open, and says what to install."""
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(MeasurementFailed, match=r"pip install 'aos\[coding\]'"):
        async with Bench():
            pass


async def test_a_closed_bench_fails_who_waits():
    """Closing while callers wait gives each of them an error, at once."""
    async with Bench(linger=60) as bench, asyncio.TaskGroup() as group:
        calls = [group.create_task(_outcome(bench, n)) for n in range(3)]
        await asyncio.wait(calls, timeout=0.05)
        await bench.aclose()
    assert [call.result() for call in calls] == ["the bench was closed before this was measured"] * 3
    assert await _outcome(bench, 0) == "the bench is not open: use it in `async with`"


async def _outcome(bench: Bench, number: int) -> str:
    try:
        await bench.measure(f"{number}.py", b"x = 1\n")
    except MeasurementFailed as error:
        return str(error)
    return "measured"


def test_the_measuring_process_ends_with_its_parent():
    """When the other end of its pipe is gone, the process ends by itself: no orphan is left."""
    import subprocess

    program = sys.modules[examine.__module__].__file__ or ""
    reader, writer = os.pipe()
    process = subprocess.Popen([sys.executable, "-P", program], stdin=reader, stdout=subprocess.PIPE)
    os.close(reader)
    os.close(writer)
    assert process.communicate(timeout=20) == (b"", None)
    assert process.returncode == 0


def test_the_maintainability_index_is_radons():
    """Our cheaper counting of lines gives radon's index within a few points."""
    from pathlib import Path

    from radon.metrics import mi_visit

    for path in sorted(Path(sys.modules[examine.__module__].__file__ or "").parent.glob("*.py")):
        source = path.read_text()
        assert examine(path.name, source)["maintainability"] == pytest.approx(mi_visit(source, multi=True), abs=8)
