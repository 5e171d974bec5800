"""What `aos run` finds in a file, and what it says of a file that it cannot run."""

import pytest

from aos import GenericPurposeDrivenAgent
from aos.cli.program import load_agents

HEADER = "from aos import Agent, GenericPurposeDrivenAgent, on\n"
COUNTER = "class Counter(Agent):\n    @on('ticks')\n    async def tick(self, event, ctx): ...\n"


@pytest.fixture
def write(aos, tmp_path):
    """Write a file into the current folder; returns its path from there."""

    def to(name, text):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
        return name

    return to


def _names(target):
    return [getattr(agent, "agent_id", None) or agent.__name__ for agent in load_agents(target)]


def test_classes_and_ready_made_agents_are_found(write) -> None:
    """In the order in which they stand in the file, each once."""
    ready = "clerk = GenericPurposeDrivenAgent('clerk')\nalso = clerk\n"
    assert _names(write("a.py", HEADER + COUNTER + ready + COUNTER.replace("Counter", "Other"))) == [
        "Counter",
        "clerk",
        "Other",
    ]


def test_what_is_imported_is_not_defined_there(write) -> None:
    """An agent runs where it is written, and a neighbour can be imported as from a script."""
    write("neighbour.py", HEADER + COUNTER)
    assert _names(write("b.py", "from neighbour import Counter\n" + HEADER + COUNTER.replace("Counter", "Mine"))) == [
        "Mine"
    ]


def test_all_names_what_runs(write) -> None:
    """With `__all__` a file says itself which agents it has, wherever they are written."""
    write("theirs.py", HEADER + COUNTER)
    own = COUNTER.replace("Counter", "Mine")
    assert _names(write("c.py", f"from theirs import Counter\n{HEADER}{own}__all__ = ['Counter', 'missing']\n")) == [
        "Counter"
    ]


def test_a_base_class_is_no_agent(write) -> None:
    """A class that handles nothing and that others derive from is left out."""
    base = "class Base(Agent):\n    purpose = 'shared'\n"
    assert _names(write("d.py", HEADER + base + COUNTER.replace("(Agent)", "(Base)"))) == ["Counter"]


def test_a_module_is_found_by_its_name(write) -> None:
    """A package with relative imports is run by its dotted name, from the current folder."""
    write("farm/__init__.py", "")
    write("farm/tools.py", "NAME = 'ticks'\n")
    write("farm/agents.py", HEADER + "from .tools import NAME\n" + COUNTER)
    assert _names("farm.agents") == ["Counter"]


def test_a_file_may_have_the_name_of_a_module(write) -> None:
    """A file called like something that is loaded already is loaded all the same."""
    assert _names(write("typing.py", HEADER + COUNTER)) == ["Counter"]
    assert _names(write("aos.py", HEADER + COUNTER)) == ["Counter"]


def test_annotations_may_be_text(write) -> None:
    """`from __future__ import annotations` and dataclasses work as in an imported module."""
    text = (
        f"from __future__ import annotations\nfrom dataclasses import dataclass\n{HEADER}\n@dataclass\nclass Tick:\n"
        "    n: int = 0\n\n" + COUNTER.replace("event,", "event: Tick,")
    )
    assert _names(write("e.py", text)) == ["Counter"]


def test_ready_made_agents_come_as_they_are(write) -> None:
    """The object in the file is the agent that is run."""
    (agent,) = load_agents(write("f.py", HEADER + "clerk = GenericPurposeDrivenAgent('clerk', purpose='write')\n"))
    assert isinstance(agent, GenericPurposeDrivenAgent)
    assert agent.purpose == "write"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("import os\n", "there are no agents in 'bad.py': write a class that derives from aos.Agent"),
        ("x = 1\nclass A(:\n    pass\n", "bad.py:2: invalid syntax: class A(:"),
        ("def f():\n\treturn 1\n        return 2\n", "bad.py:3: inconsistent use of tabs and spaces in indentation"),
        ("import nosuchmodule\n", "bad.py:1: ModuleNotFoundError: No module named 'nosuchmodule'"),
        ("def f():\n    return 1 / 0\n\nf()\n", "bad.py:2: ZeroDivisionError: division by zero"),
        ("import json\njson.loads('{')\n", "bad.py:2: JSONDecodeError: Expecting property name"),
        (f"{HEADER}class A(Agent):\n    @on('a b')\n    async def x(self, e): ...\n", "bad.py:3: topic 'a b' has an"),
        (
            f"{HEADER}class A(Agent):\n    @on('a')\n    def x(self, e): ...\n",
            "bad.py:3: A.x must be written with 'async",
        ),
        (f"{HEADER}class A(Agent): ...\n", "A handles nothing: give it a method with @on('topic')"),
        (
            f"{HEADER}{COUNTER}Other = type('Other', (Counter,), {{'name': 'Counter'}})\n",
            "an agent called 'Counter' is",
        ),
        (f"{HEADER}GenericPurposeDrivenAgent('')\n", "bad.py:2: agent_id must be a name, not ''"),
        ("x = '\x00'\n", "bad.py"),
    ],
)
def test_a_file_that_cannot_be_run_is_one_clear_line(text, line, write, aos) -> None:
    """The place in the user's file, what is wrong, exit status 2, and no store is made."""
    done = aos("run", write("bad.py", text))
    assert done.status == 2
    assert done.err.startswith(f"error: {line}"), done.err
    assert done.err.count("\n") == 1
    assert aos("ps").status == 3


@pytest.mark.parametrize(
    ("target", "line"),
    [
        ("none.py", "there is no file 'none.py'\n"),
        ("some/where", "there is no file 'some/where': name a file that ends in .py, or a module such as pkg.agents\n"),
        ("nosuch.module", "there is no module 'nosuch.module' and no such file: name a file that ends in .py"),
        (".", "'.' is a folder: name a file in it\n"),
        ("text.txt", "'text.txt' is no Python file: its name must end in .py\n"),
    ],
)
def test_a_file_that_is_not_there_is_one_clear_line(target, line, write, aos) -> None:
    """Whatever the argument is."""
    write("text.txt", "")
    done = aos("run", target)
    assert (done.status, done.err.startswith(f"error: {line}")) == (2, True), done.err


def test_an_error_in_a_neighbour_is_named_there(write, aos) -> None:
    """The line is the one that is wrong, in whichever of the user's files it stands."""
    write("broken_neighbour.py", "\n\nclass (\n")
    assert aos("run", write("g.py", "import broken_neighbour\n")).err.startswith("error: broken_neighbour.py:3: ")


def test_a_missing_import_inside_a_package_is_named(write, aos) -> None:
    """A module that is there and cannot be loaded is not called missing."""
    write("barn/__init__.py", "")
    write("barn/agents.py", "import nosuchmodule\n")
    assert aos("run", "barn.agents").err == (
        "error: barn/agents.py:1: ModuleNotFoundError: No module named 'nosuchmodule'\n"
    )
