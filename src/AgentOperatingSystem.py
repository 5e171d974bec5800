"""AOS under its long name: `AgentOperatingSystem.agents` is `aos.agents`, the same module, and so for every other.

`import AgentOperatingSystem` gives `aos` itself, so that what is patched under one name is patched under both.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

import aos

_NAME = "AgentOperatingSystem"
_SHORT = aos.__name__


class _Alias(MetaPathFinder, Loader):
    """Finds `AgentOperatingSystem.x.y` and loads it as `aos.x.y`."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,  # noqa: ARG002 - the import system gives it
        target: ModuleType | None = None,  # noqa: ARG002 - as above
    ) -> ModuleSpec | None:
        """The specification of a module of `aos` under its long name; None for what is not there."""
        root, _, rest = fullname.partition(".")
        if root != _NAME or find_spec(f"{_SHORT}.{rest}") is None:
            return None
        return ModuleSpec(fullname, self)

    def create_module(self, spec: ModuleSpec) -> None:
        """Leave it to the import system: a module made here would have its attributes overwritten."""

    def exec_module(self, module: ModuleType) -> None:
        """Put the module of `aos` in the place of the empty one that was made."""
        # The import system takes what stands here when this returns.
        sys.modules[module.__name__] = importlib.import_module(_SHORT + module.__name__.removeprefix(_NAME))


# First, because `aos` has a path, on which the path finder would load a second copy of each room.
sys.meta_path.insert(0, _Alias())
sys.modules[_NAME] = aos
