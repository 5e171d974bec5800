"""The command line, and the only reader of the environment."""

from aos.cli.entry import main

__all__ = ["main"]
