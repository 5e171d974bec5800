"""How a command begins, and how its errors end: one line, the right exit status, no traceback."""

import json
import subprocess
import sys

import pytest

from aos.cli import entry, printing
from aos.errors import AOSError, InvalidInput, StoreFull

PIPE = [sys.executable, "-m", "aos"]


def _raise(error: BaseException):
    def fail(*_):
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (InvalidInput("take another"), 2, "error: take another\n"),
        (StoreFull("no room"), 3, "error: no room\n"),
        (AOSError("two\nlines and \x1b[2J"), 1, "error: two lines and \\x1b[2J\n"),
        (
            ZeroDivisionError("division by zero"),
            1,
            "error: ZeroDivisionError: division by zero (--debug shows where)\n",
        ),
        (
            ModuleNotFoundError("No module named 'rich'", name="rich.table"),
            1,
            "error: this needs rich.table: run pip install 'agent-operating-system[cli]'\n",
        ),
    ],
)
def test_an_error_is_one_line_and_a_status(error, status, line, aos, monkeypatch) -> None:
    """Whatever is raised, the user gets one line that a terminal cannot be tricked by."""
    monkeypatch.setattr(entry, "_run", _raise(error))
    done = aos("ps")
    assert (done.status, done.out, done.err) == (status, "", line)


def test_with_json_an_error_is_an_object(aos) -> None:
    """`--json` holds for errors too."""
    done = aos("ps", "--json")
    assert done.status == 3
    assert json.loads(done.err) == {"error": done.err[10:-29], "type": "StoreUnavailable"}


@pytest.mark.parametrize("options", [["ps", "--debug"], ["--debug", "ps"]])
def test_debug_shows_the_traceback(options, aos) -> None:
    """`--debug` may stand anywhere."""
    done = aos(*options)
    assert "Traceback" in done.err
    assert done.err.splitlines()[-1].startswith("error: there is no store 'aos.db'")


def test_the_environment_asks_for_the_traceback_too(aos, monkeypatch) -> None:
    """`AOS_DEBUG=1` does what `--debug` does."""
    monkeypatch.setenv("AOS_DEBUG", "1")
    assert "Traceback" in aos("ps").err


def test_what_stands_behind_two_dashes_is_no_option(aos, store) -> None:
    """After `--` a payload may look like an option."""
    done = aos("send", "ticks.a", "--", "--json")
    assert done.status == 2
    assert done.err.startswith("error: the payload is not JSON")


def test_ctrl_c_is_quiet(aos, monkeypatch) -> None:
    """An interrupted command ends with 130 and says nothing."""
    monkeypatch.setattr(entry, "_run", _raise(KeyboardInterrupt()))
    assert aos("ps") == type(aos("ps"))(130, "", "")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nosuch"], "No such command 'nosuch'; see 'aos --help'"),
        (["send", "x"], "Missing argument 'JSON'; see 'aos send --help'"),
        (["dead"], "Missing command; see 'aos dead --help'"),
    ],
)
def test_a_wrong_command_line_says_where_help_is(arguments, line, aos) -> None:
    """What typer refuses looks like every other error."""
    done = aos(*arguments)
    assert (done.status, done.err) == (2, f"error: {line}\n")


@pytest.mark.parametrize("command", ["run", "send", "ps", "inspect", "log", "dead", "stop", "steward"])
def test_every_command_explains_itself(command, aos) -> None:
    """`--help` works for each, and the list of all names each."""
    done = aos(command, "--help")
    assert done.status == 0
    assert f"Usage: aos {command}" in done.out
    assert f" {command} " in aos().out


def test_the_version_is_the_package_s(aos) -> None:
    """`aos --version` prints name and version."""
    assert aos("--version").out == "aos 0.1.0\n"


def test_a_missing_package_is_one_clear_line() -> None:
    """Without typer the command says what to install."""
    code = "import sys; sys.modules['typer'] = None; from aos.cli import main; sys.exit(main(['ps']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "error: this needs typer: run pip install 'agent-operating-system[cli]'\n"


def test_sending_loads_no_terminal_library(store) -> None:
    """`aos send` starts without rich."""
    code = (
        "import sys; from aos.cli import main; status = main(['send', 'ticks.a', '1'])\n"
        "sys.exit(status or [name for name in ('rich', 'aos.coding', 'radon') if name in sys.modules] or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.startswith("note:")) == (0, True), done.stderr


def test_the_module_is_the_command() -> None:
    """`python -m aos` is `aos`."""
    done = subprocess.run([*PIPE, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("aos ")


def test_a_reader_that_goes_away_is_no_error(used_store) -> None:
    """`aos log | head` ends the command quietly."""
    reader = subprocess.Popen([sys.executable, "-c", ""], stdin=subprocess.PIPE)
    assert reader.wait() == 0
    done = subprocess.run([*PIPE, "log"], stdout=reader.stdin, stderr=subprocess.PIPE, text=True, check=False)
    reader.stdin.close()
    assert (done.returncode, done.stderr) == (entry.PIPE_CLOSED, "")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0000314, "31 µs"),
        (0.0314, "31.4 ms"),
        (3.14, "3.1 s"),
        (31.4, "31 s"),
        (314, "5 min"),
        (31_400, "9 h"),
        (314_000, "4 d"),
    ],
)
def test_durations_have_the_unit_that_suits_them(seconds, text) -> None:
    """A duration is short and clear."""
    assert printing.duration(seconds) == text


def test_times_far_away_have_their_date(monkeypatch) -> None:
    """A time of today is a time of day, any other has its date."""
    monkeypatch.setattr(printing, "now", lambda: 1_800_000_000.0)
    assert len(printing.clock_time(1_800_000_100.0)) == len("00:00:00")
    assert len(printing.clock_time(1_700_000_000.0)) == len("2023-11-14 00:00:00")
    assert printing.distance(1_800_000_100.0) == "in 100 s"
    assert printing.distance(1_799_999_990.0) == "10 s ago"


def test_a_table_is_framed_on_a_terminal_only(capsys, monkeypatch) -> None:
    """In a pipe a table has plain columns; on a terminal it has lines, and nothing in it is taken for markup."""
    printing.print_table(("name", "text"), [("a", "[red]x"), ("bbbbb", "\x1b")])
    assert capsys.readouterr().out == "NAME   TEXT\na      [red]x\nbbbbb  \\x1b\n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    printing.print_table(("name", "text"), [("a", "[red]x")])
    assert "│ a    │ [red]x │" in capsys.readouterr().out
