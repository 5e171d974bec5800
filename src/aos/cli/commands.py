"""The commands by name, and how the one that is asked for is loaded."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Any

import typer
from typer.main import get_command

_COMMANDS = {
    "run": "aos.cli.running",
    "send": "aos.cli.sending",
    "ps": "aos.cli.looking",
    "inspect": "aos.cli.looking",
    "log": "aos.cli.history",
    "dead": "aos.cli.letters",
    "unsubscribe": "aos.cli.unsubscribing",
    "stop": "aos.cli.stopping",
    "steward": "aos.cli.steward",
}


def command_for(arguments: list[str]) -> Any:
    """Typer's command line with the one command that is asked for, or with all if it is none of them."""
    asked = next((argument for argument in arguments if not argument.startswith("-")), "")
    app = typer.Typer(
        name="aos", add_completion=False, context_settings={"help_option_names": ["--help", "-h"]}, callback=_aos
    )
    for name in [asked] if asked in _COMMANDS else _COMMANDS:
        command = getattr(import_module(_COMMANDS[name]), name)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name)(command)
    return get_command(app)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415 - slow, and nothing else needs it

        print(f"aos {version('agent-operating-system')}")
        raise typer.Exit


def _aos(
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and end.")
    ] = False,
    _debug: Annotated[bool, typer.Option("--debug", help="Show where an error was raised.")] = False,
) -> None:
    """Run agents that never stop, and look at what they do.

    --debug may stand anywhere; AOS_DEBUG=1 does the same, and AOS_STORE names the store instead of --store.
    """
