"""The only place that reads chance."""

from __future__ import annotations

import base64
import itertools
import os
import random
from collections.abc import Callable


class Entropy:
    """Random numbers and new ids, all from one seed.

    Args:
        seed: Bytes or a number that decides everything; None takes 16 bytes from the system.
    """

    __slots__ = ("new_id", "random")

    def __init__(self, seed: int | bytes | None = None) -> None:
        self.random = random.Random(os.urandom(16) if seed is None else seed)
        prefix = base64.b32encode(self.random.randbytes(10)).decode().lower()
        count = itertools.count(1)
        self.new_id: Callable[[], str] = lambda: f"{prefix}{next(count):x}"
        """A new id: 80 random bits drawn once, and a counter."""
