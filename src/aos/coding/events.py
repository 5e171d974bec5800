"""What the agents that watch a folder tell each other."""

from __future__ import annotations

from typing import Literal

import msgspec

from aos.coding.metrics import Verdict

SCAN = "steward.scan"
TOUCHED = "steward.touched"
CHANGED = "files.changed"
REMOVED = "files.removed"
SURVEYED = "passes.surveyed"
REVIEWED = "reviews.done"

Outcome = Literal["reviewed", "known", "removed", "failed"]


class Scan(msgspec.Struct, frozen=True):
    """Ask to look at every file.

    Args:
        number: The pass that this goes on with; 0 begins a new one.
        after: Go on behind this path.
    """

    number: int = 0
    after: str = ""


class Touched(msgspec.Struct, frozen=True):
    """Something happened to these paths below the root."""

    paths: list[str]


class FileChanged(msgspec.Struct, frozen=True):
    """A file has content that its reviewer may not know. `number` is the pass that found it, 0 for none."""

    path: str
    hash: str
    number: int = 0


class FileRemoved(msgspec.Struct, frozen=True):
    """A file is there no more."""

    path: str
    number: int = 0


class Surveyed(msgspec.Struct, frozen=True):
    """A part of a pass was compared with what is known.

    Args:
        number: The pass.
        total: Files in the whole pass.
        unchanged: Files of this part whose latest review is of their present content.
        announced: Changed and removed files of this part: as many `ReviewDone` will follow.
        odd: Files in the folder that are left out for their names.
        after: The part's last path, to go on behind; empty if this is the last part.
    """

    number: int
    total: int
    unchanged: int
    announced: int
    odd: int
    after: str


class ReviewDone(msgspec.Struct, frozen=True):
    """The answer to each `FileChanged` and `FileRemoved`.

    Args:
        outcome: `known` if this content was reviewed before, `failed` if a tool died over it.
        text: What changed, in one line.
    """

    path: str
    outcome: Outcome
    number: int = 0
    hash: str = ""
    score: float = 0.0
    total: int = 0
    verdict: Verdict = "same"
    text: str = ""
    at: float = 0.0
