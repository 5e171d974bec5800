"""Every block of the documentation is run, and what it prints is compared.

* ```python with a first line `# name.py` is written to that file; any other is run in the order of the page.
* ```console is run line by line: `$ command`, then what it prints; `…` stands for any text. One shell runs a page.
  `aos run` goes on in the background, as in a terminal of its own, once it has printed what is shown.
* ```sh holds calls of make, whose targets must be there: the tests are themselves run by one.
"""

import itertools
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RUNNABLE = {"python", "console", "sh"}
SHOWN = {"text", "toml", "json"}
END = "-- end of output --"


def _blocks(page: Path) -> list[tuple[str, str]]:
    return BLOCK.findall(page.read_text())


def _calls(block: str) -> Iterator[tuple[str, str]]:
    """Commands with the output that stands below them."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        while command.endswith("\\"):
            more, _, output = output.partition("\n")
            command = command[:-1] + more.removeprefix("> ")
        yield command, output


class Shell:
    """One bash for a page, so that what it starts and sets is there in the next block."""

    def __init__(self, folder: Path) -> None:
        self._terminals = itertools.count(1)
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self._process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env={**os.environ, "PATH": path, "HOME": str(folder), "COLUMNS": "110", "NO_COLOR": "1", "TERM": "dumb"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, command: str) -> str:
        """What a command prints."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{command}\necho '{END}'\n")
        self._process.stdin.flush()
        lines: list[str] = []
        for line in self._process.stdout:
            if line.rstrip("\n").endswith(END):
                lines.append(line.rstrip("\n").removesuffix(END))
                break
            lines.append(line)
        return "".join(lines)

    def leave_running(self, command: str, shown: str) -> str:
        """Start what goes on running, in the background; what it had printed when it had printed enough."""
        log = f"terminal-{next(self._terminals)}.log"
        self.run(f"({command} > {log} 2>&1 &)")
        lines = len(shown.splitlines())
        return self.run(f"timeout 20 sh -c 'until [ $(wc -l < {log}) -ge {lines} ]; do sleep 0.05; done'; cat {log}")

    def close(self) -> None:
        """End the shell and whatever a page that failed left running."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.stdin.close()
        self._process.wait(timeout=20)
        self._process.stdout.close()


def _agrees(shown: str, printed: str) -> bool:
    parts = [re.escape(part) for part in re.sub(r"[ \t]+", " ", shown.strip()).split("…")]
    return re.fullmatch(".*?".join(parts), re.sub(r"[ \t]+", " ", printed.strip()), re.DOTALL) is not None


@pytest.mark.acceptance
@pytest.mark.timeout(180)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page(page: Path, tmp_path: Path) -> None:
    """What a page shows is what happens."""
    shell = Shell(tmp_path)
    try:
        for language, block in _blocks(page):
            name = re.match(r"# (\S+\.py)\n", block)
            if language == "python" and name:
                (tmp_path / name[1]).write_text(block)
            elif language == "python":
                (tmp_path / "block.py").write_text(block)
                done = subprocess.run(
                    [sys.executable, "block.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
                )
                assert done.returncode == 0, f"{block}\n{done.stderr}"
            elif language == "console":
                for command, shown in _calls(block):
                    goes_on = command.startswith("aos run ")
                    printed = shell.leave_running(command, shown) if goes_on else shell.run(command)
                    assert _agrees(shown, printed), f"$ {command}\nshown:\n{shown}\nprinted:\n{printed}"
    finally:
        shell.close()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_say_what_they_are(page: Path) -> None:
    """Every block of a page has a language that is run, or one that only shows a text."""
    assert page.read_text().count("\n```") == 2 * len(_blocks(page)), "a block without a language"
    assert {language for language, _ in _blocks(page)} <= RUNNABLE | SHOWN


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_targets_exist(page: Path) -> None:
    """The make commands of a page name targets that are there."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for language, block in _blocks(page):
        if language == "sh":
            for line in block.splitlines():
                command = re.match(r"make (\w+)", line)
                assert command, f"not a call of make: {line}"
                assert command[1] in targets
