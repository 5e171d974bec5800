"""The command line as a user has it: real processes on one file, ended in every way, given every wrong input."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.acceptance

AOS = str(Path(sys.executable).with_name("aos"))
AGENTS = """
import time
from aos import Agent, Context, RetryPolicy, on

class Counter(Agent):
    @on("ticks.>")
    async def tick(self, event, ctx: Context):
        ctx.state["n"] = ctx.state.get("n", 0) + 1
        print("tick", ctx.state["n"], flush=True)
        return ctx.state

class Broken(Agent):
    retry = RetryPolicy(attempts=2, base=0.01)

    @on("work")
    async def work(self, event, ctx: Context):
        raise ValueError("it broke")

class Narrow(Agent):
    mailbox_limit = 3

    @on("narrow")
    async def take(self, event, ctx: Context):
        ctx.state.setdefault("seen", []).append(event)

class Blocker(Agent):
    @on("block")
    async def block(self, event, ctx: Context):
        print("blocking", flush=True)
        time.sleep(600)
"""


def aos(*arguments: str, stdin: str = "", status: int | None = 0) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    done = subprocess.run([AOS, *arguments], input=stdin, capture_output=True, text=True, check=False)
    assert status is None or done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def ask(*arguments: str) -> Any:
    """What a command says to a program."""
    return json.loads(aos(*arguments, "--json").stdout)


def until(condition: Callable[[], bool]) -> None:
    """Ask until it is so; the time-out of the test is the limit."""
    while not condition():
        pass


class Running:
    """A command that goes on; what it prints is read line by line."""

    def __init__(self, *arguments: str, stdin: int | None = None) -> None:
        self.process = subprocess.Popen(
            [AOS, *arguments], stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def until(self, words: str) -> str:
        """Read until a line has these words; the line."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if words in line:
                return line
        raise AssertionError(f"{words!r} never came: {self.process.communicate()[1]}")

    def end(self, number: int | None = None) -> tuple[int, str, str]:
        """Its exit status, and what else it printed; a signal is sent first."""
        if number is not None:
            self.process.send_signal(number)
        out, err = self.process.communicate()
        return self.process.returncode, out, err


Start = Callable[..., Running]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Start commands beside `agents.py`; those that still run are killed in the end."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "agents.py").write_text(AGENTS)
    started: list[Running] = []

    def begin(*arguments: str, stdin: int | None = None) -> Running:
        started.append(Running(*arguments, stdin=stdin))
        return started[-1]

    yield begin
    for running in started:
        running.process.kill()
        running.end()


@pytest.fixture
def running(start: Start) -> Running:
    """`aos run agents.py`, ready."""
    system = start("run", "agents.py")
    system.until("from a second terminal")
    return system


@pytest.fixture
def store(running: Running) -> Path:
    """The store's file, after a system ran on it and stopped."""
    running.end(signal.SIGINT)
    return Path("aos.db")


def test_a_second_terminal_looks_and_feeds(running) -> None:
    """send, ps, inspect, log and stop work on the file of a running system."""
    aos("send", "ticks.a", "1")
    assert ask("send", "ticks.b", "2", "--wait") == {"answer": {"n": 2}}
    overview = ask("ps")
    assert {agent["address"]: agent["life"] for agent in overview["agents"]}["Counter"] == "active"
    assert [process["pid"] for process in overview["processes"]] == [running.process.pid]
    assert ask("inspect", "Counter")["agent"]["state"] == {"n": 2}
    assert [turn["topic"] for turn in ask("log")] == ["ticks.a", "ticks.b"]
    assert aos("stop").stdout == "stopped 1 process\n"
    status, out, _ = running.end()
    assert status == 0
    assert out.endswith("stopping, as 'aos stop' asked\nstopped: 2 turns\n")
    assert aos("stop").stdout == "no process runs\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_system(number, running) -> None:
    """Ctrl-C and SIGTERM end it in order, with exit status 0."""
    status, out, err = running.end(number)
    assert (status, out.splitlines()[-1]) == (0, "stopped: 0 turns")
    assert err == "stopping: waiting for the turns that run; once more quits at once\n"


def test_a_second_ctrl_c_quits_although_a_handler_blocks(running) -> None:
    """The process ends at once, and the message is still there."""
    aos("send", "block", "1")
    running.until("blocking")
    running.process.send_signal(signal.SIGINT)
    assert running.process.stderr is not None
    while "once more quits" not in running.process.stderr.readline():
        pass
    status, _, err = running.end(signal.SIGINT)
    assert (status, err.splitlines()[-1][:16]) == (130, "quitting at once")
    assert ask("inspect", "Blocker")["agent"]["pending"] == 1


def test_after_a_kill_everything_goes_on(running, start) -> None:
    """Nobody is shown running, what is sent waits, and the next start handles it."""
    assert ask("send", "ticks.a", "1", "--wait") == {"answer": {"n": 1}}
    running.end(signal.SIGKILL)
    assert ask("ps")["processes"] == []
    assert aos("stop").stdout == "no process runs\n"
    aos("send", "ticks.a", "1")
    start("run", "agents.py").until("tick 2")


def test_stop_says_when_a_process_does_not(running) -> None:
    """A process that is suspended cannot stop: exit status 1 and its number; once it goes on, it stops."""
    running.process.send_signal(signal.SIGSTOP)
    done = aos("stop", "--timeout", "0.3", status=1)
    assert done.stderr.startswith("error: still running after 0.3 s")
    assert f"'kill -9 {running.process.pid}'" in done.stderr
    assert running.end(signal.SIGCONT)[0] == 0


def test_failures_are_log_lines(running) -> None:
    """A failing turn and a dead letter are there in a line each, and harm nobody."""
    aos("send", "work", "1")
    assert running.process.stderr is not None
    assert "Broken on work: attempt 1 failed, again in 0.0 s: ValueError: it broke" in running.process.stderr.readline()
    assert "gave up" in running.process.stderr.readline()
    assert ask("send", "ticks.a", "1", "--wait") == {"answer": {"n": 1}}
    status, out, _ = running.end(signal.SIGINT)
    assert (status, out.splitlines()[-1]) == (0, "stopped: 1 turn, 1 tried again, 1 dead letter: see 'aos dead list'")


def test_a_redriven_letter_is_handled_again(running) -> None:
    """`aos dead redrive` works while the system runs."""
    aos("send", "work", "1")
    assert running.process.stderr is not None
    while "gave up" not in running.process.stderr.readline():
        pass
    (letter,) = ask("dead", "list")
    assert ask("dead", "redrive", str(letter["number"])) == {"redriven": 1}
    while "gave up" not in running.process.stderr.readline():
        pass
    assert len(ask("dead", "list")) == 1
    assert ask("dead", "drop", "--all") == {"dropped": 1}


def test_run_with_json_is_lines_of_json(start) -> None:
    """Start, log lines and end are objects."""
    system = start("run", "agents.py", "--json")
    begun = json.loads(system.until("started"))
    assert [agent["name"] for agent in begun["agents"]] == ["Counter", "Broken", "Narrow", "Blocker"]
    assert begun["pid"] == system.process.pid
    aos("send", "work", "1")
    assert system.process.stderr is not None
    assert json.loads(system.process.stderr.readline())["level"] == "warning"
    assert json.loads(system.process.stderr.readline())["level"] == "error"
    status, out, _ = system.end(signal.SIGTERM)
    assert (status, json.loads(out.splitlines()[-1])["event"]) == (0, "stopped")


def test_lines_are_sent_as_they_come(running, start) -> None:
    """A line of a pipe that stays open is handled before the next one is written."""
    sender = start("send", "ticks.a", "-", "--lines", stdin=subprocess.PIPE)
    assert sender.process.stdin is not None
    for number in (1, 2):
        sender.process.stdin.write("{}\n")
        sender.process.stdin.flush()
        running.until(f"tick {number}")
    status, out, _ = sender.end()
    assert (status, out) == (0, "sent 2 messages to Counter\n")


def test_more_lines_than_a_mailbox_holds_wait_for_room(running) -> None:
    """All of them arrive, in order, although only a few may wait at a time."""
    done = aos("send", "narrow", "-", "--lines", stdin="\n".join(map(str, range(20))))
    assert done.stdout == "sent 20 messages to Narrow\n"
    until(lambda: ask("inspect", "Narrow")["agent"]["pending"] == 0)
    assert ask("inspect", "Narrow")["agent"]["state"]["seen"] == list(range(20))


def test_log_follows_until_ctrl_c(running, start) -> None:
    """What happened and what happens next is shown, an object a line; Ctrl-C ends it quietly."""
    aos("send", "ticks.a", "1")
    running.until("tick 1")
    log = start("log", "-f", "--json")
    assert json.loads(log.until("ticks.a"))["outcome"] == "committed"
    aos("send", "ticks.b", "1")
    assert json.loads(log.until("ticks.b"))["address"] == "Counter"
    assert log.end(signal.SIGINT) == (130, "", "")


def test_log_ends_when_its_reader_goes(running, start) -> None:
    """`aos log -f | head -1` ends with the first turn after the reader has gone, and says nothing."""
    log = start("log", "-f")
    aos("send", "ticks.a", "1")
    log.until("ticks.a")
    assert log.process.stdout is not None
    log.process.stdout.close()
    aos("send", "ticks.b", "1")
    assert log.process.stderr is not None
    assert (log.process.wait(), log.process.stderr.read()) == (141, "")


def _newer(store: Path) -> None:
    with sqlite3.connect(store) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()


def _corrupt(store: Path) -> None:
    data = store.read_bytes()
    store.write_bytes(data[:4096] + bytes(byte ^ 0x5A for byte in data[4096:]))


def _foreign(store: Path) -> None:
    store.write_bytes(b"this is a text, and it is longer than the header of a database. " * 100)


@pytest.mark.parametrize("command", [("run", "agents.py"), ("send", "ticks.a", "1"), ("ps",), ("stop",)])
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_newer, "error: 'aos.db' has store format 99, this AOS knows up to 1: upgrade AOS, or name another file"),
        (_corrupt, "error: 'aos.db' is damaged"),
        (_foreign, "error: 'aos.db' is no AOS store: name another file with --store"),
    ],
)
def test_a_store_that_cannot_be_used_is_left_alone(command, damage, words, store) -> None:
    """Newer, corrupt or no store at all: one clear line, exit status 3, and not a byte of it is changed."""
    damage(store)
    before = store.read_bytes()
    done = aos(*command, status=3)
    assert done.stderr.startswith(words)
    assert done.stderr.count("\n") == 1
    assert store.read_bytes() == before


PRELUDE = """
    aos() { "$AOS" "$@"; }
    start() {
        exec 3< <(exec "$AOS" run agents.py 2>&1 > out); system=$!
        timeout 30 sh -c 'until grep -q running out; do sleep 0.05; done'
    }
    until_it_says() { while read -r line <&3; do case $line in *"$1"*) return;; esac; done; false; }
    disk() { mkdir full; mount -t tmpfs -o size=$1 tmpfs full; cp aos.db full; export AOS_STORE=sqlite:full/aos.db; }
    lines() { seq -f "{\\"n\\": %g, \\"filled\\": \\"$(printf %0300d 1)\\"}" $1; }
"""


def in_mounts(script: str) -> subprocess.CompletedProcess[str]:
    """Run a script of the shell that may mount: nobody else sees it, and all is unmounted when it ends."""
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-rm", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this needs namespaces for mounts: apt-get install util-linux, and allow them")
    command = [unshare, "-rm", "bash", "-eu", "-o", "pipefail", "-c", PRELUDE + script]
    done = subprocess.run(command, env={**os.environ, "AOS": AOS}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_a_full_disk_loses_nothing(store) -> None:
    """What was accepted is exactly what is there, the error says what to do, and with room it goes on."""
    done = in_mounts("""
        disk 700k; lines 5000 > lines
        aos send ticks.a - --lines < lines || echo $?
        aos ps --json | tr -d '\\n '; echo
        mount -o remount,size=64m full
        aos send ticks.a - --lines < lines
    """)
    accepted, error = done.stderr.splitlines()[:2]
    assert error == (
        "error: no room is left on the disk of 'full/aos.db'; nothing was changed: free some space and go on"
    )
    status, overview, last = done.stdout.splitlines()
    assert (status, last) == ("3", "sent 5,000 messages to Counter")
    assert json.loads(overview)["statistics"]["pending"] == int(accepted.split()[0].replace(",", "")) > 0


def test_a_running_system_waits_for_room(store) -> None:
    """A system on a disk that runs full goes on once there is room, and each message has its effect once."""
    done = in_mounts("""
        disk 700k; start
        lines 5000 | aos send ticks.a - --lines 2> said || cut -d' ' -f1 said | head -1
        until_it_says "no room is left"
        mount -o remount,size=64m full
        aos send ticks.a '{}' --wait --timeout 30 --json | tr -d '\\n '; echo
        kill -INT $system; wait $system
        aos ps --json | tr -d '\\n '; echo
    """)
    accepted, answer, overview = done.stdout.splitlines()
    assert json.loads(answer)["answer"]["n"] == int(accepted.replace(",", "")) + 1
    assert json.loads(overview)["statistics"]["dead"] == 0


def test_a_read_only_folder_is_one_clear_line(store) -> None:
    """Neither a new store nor one that is there can be used, and the error says what to do."""
    done = in_mounts("""
        mount --bind . .; mount -o remount,ro,bind .; cd "$PWD"
        aos run agents.py || echo $?
        aos send ticks.a 1 || echo $?
        aos run agents.py --store sqlite:new.db || echo $?
    """)
    assert done.stdout.split() == ["3", "3", "3"]
    there, same, new = done.stderr.splitlines()
    assert there == same
    assert there.startswith("error: 'aos.db' cannot be opened: check the rights of the file and its folder")
    assert new == ("error: the folder '.' cannot be written to: change its rights, or name another file with --store")
