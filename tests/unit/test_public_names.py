"""The public names, and that the glossary knows every one of them."""

import importlib
import pkgutil
from pathlib import Path

import pytest

import aos

ROOT = Path(__file__).parents[2]
ROOMS = [name for _, name, package in pkgutil.iter_modules(aos.__path__) if package and name not in {"cli", "testing"}]


@pytest.mark.parametrize("room", ["", *ROOMS])
def test_all_is_what_is_there(room: str) -> None:
    """`__all__` of a room names each thing once, and everything in it is there."""
    module = importlib.import_module(f"aos.{room}".rstrip("."))
    names = getattr(module, "__all__", [])
    assert sorted(names) == sorted(set(names))
    for name in names:
        assert hasattr(module, name), name


def test_the_root_exports_little() -> None:
    """The root has at most about thirty names."""
    assert len(aos.__all__) <= 30


@pytest.mark.parametrize("room", ["", *ROOMS])
def test_the_glossary_has_every_public_class(room: str) -> None:
    """Each public class is named in the glossary."""
    glossary = (ROOT / "docs" / "glossary.md").read_text()
    module = importlib.import_module(f"aos.{room}".rstrip("."))
    missing = [
        name
        for name in getattr(module, "__all__", [])
        if isinstance(getattr(module, name), type) and f"`{name}`" not in glossary
    ]
    assert not missing
