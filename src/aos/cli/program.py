"""A user's file of agents: how it is loaded, and which agents are in it."""

from __future__ import annotations

import importlib
import inspect
import sys
import traceback
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from aos.agents import Agent, GenericPurposeDrivenAgent
from aos.agents.declare import HandlerTable
from aos.cli.failure import one_line
from aos.errors import AOSError, InvalidAgent, InvalidInput

Agents = list[type[Agent] | GenericPurposeDrivenAgent]


def load_agents(target: str) -> Agents:
    """The agents that a file or module defines, in the order in which they stand in it.

    These are the `Agent` classes written in it and the ready-made agents in its variables; a class without handlers
    from which others in it derive is their base, and no agent. With `__all__`, it is what that names, wherever it was
    written.

    Args:
        target: A path that ends in `.py`, or a module as `import` names it.

    Raises:
        InvalidInput: There is no such file, or it cannot be loaded.
        InvalidAgent: It has no agents.
    """
    module = _load(target)
    named = getattr(module, "__all__", None)
    values = [getattr(module, name, None) for name in named] if named else list(vars(module).values())
    written = [
        value
        for value in dict.fromkeys(value for value in values if isinstance(value, type | GenericPurposeDrivenAgent))
        if isinstance(value, GenericPurposeDrivenAgent)
        or (issubclass(value, Agent) and (named or value.__module__ == module.__name__))
    ]
    agents: Agents = [value for value in written if not _is_base(value, written)]
    if not agents:
        raise InvalidAgent(
            f"there are no agents in {target!r}: write a class that derives from aos.Agent, with a method under "
            "@on('some.topic')"
        )
    return agents


def _is_base(value: object, written: list[type | GenericPurposeDrivenAgent]) -> bool:
    return isinstance(value, type) and (
        inspect.isabstract(value)
        or (
            any(isinstance(other, type) and other is not value and issubclass(other, value) for other in written)
            and not HandlerTable(value).handlers
        )
    )


def _load(target: str) -> ModuleType:
    path = Path(target)
    if path.suffix == ".py" or path.exists():
        return _load_file(path)
    if "/" in target or not all(part.isidentifier() for part in target.split(".")):
        raise InvalidInput(f"there is no file {target!r}: name a file that ends in .py, or a module such as pkg.agents")
    sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(target)
    except ModuleNotFoundError as error:
        if error.name and (target == error.name or target.startswith(f"{error.name}.")):
            raise InvalidInput(
                f"there is no module {target!r} and no such file: name a file that ends in .py, or a module that "
                "can be imported from this folder"
            ) from error
        raise _failed(error, target) from error
    except Exception as error:
        raise _failed(error, target) from error


def _load_file(path: Path) -> ModuleType:
    if path.is_dir():
        raise InvalidInput(f"{str(path)!r} is a folder: name a file in it")
    if not path.exists():
        raise InvalidInput(f"there is no file {str(path)!r}")
    if path.suffix != ".py":
        raise InvalidInput(f"{str(path)!r} is no Python file: its name must end in .py")
    sys.path.insert(0, str(path.resolve().parent))  # as Python does for a script
    name = path.stem if path.stem not in sys.modules else f"aos_run_{path.stem}"
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InvalidInput(f"{str(path)!r} cannot be loaded as Python")
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise _failed(error, str(path)) from error
    return module


def _failed(error: Exception, target: str) -> AOSError:
    """What went wrong while a file was loaded, with the place in the user's code."""
    if isinstance(error, SyntaxError):
        line = f": {error.text.strip()}" if error.text and error.text.strip() else ""
        return InvalidInput(f"{_shown(error.filename or target)}:{error.lineno or 1}: {error.msg}{line}")
    place = _place(error, target)
    if isinstance(error, AOSError):
        return InvalidAgent(f"{place}: {error}")
    if isinstance(error, OSError) and not traceback.extract_tb(error.__traceback__):
        return InvalidInput(f"{target}: {error.strerror or error}")
    return InvalidInput(f"{place}: {type(error).__name__}: {one_line(str(error))}")


def _place(error: Exception, target: str) -> str:
    """The innermost line that is the user's: not Python's, not a package's, not ours."""
    ours = Path(__file__).parents[1]
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path.is_file() and ours not in path.parents and not {"site-packages", "dist-packages"} & set(path.parts):
            library = Path(traceback.__file__).parent
            if library not in path.parents:
                return f"{_shown(frame.filename)}:{frame.lineno}"
    return target


def _shown(filename: str) -> str:
    """A path as the user would write it."""
    try:
        return str(Path(filename).relative_to(Path.cwd()))
    except ValueError:
        return filename
