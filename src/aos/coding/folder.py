"""Which files of a folder are reviewed, and what is in them."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from aos.errors import InvalidInput

IGNORE_FILE = ".gitignore"
_NEVER = frozenset({"__pycache__", "node_modules", "venv", "site-packages"})
_BUILT = frozenset({"build", "dist"})
_GIT_PATIENCE = 60.0
_LONGEST = 1000


def check_folder(root: Path) -> Path:
    """The folder's absolute path; `InvalidInput` if it is none or cannot be read."""
    resolved = root.resolve()
    if not resolved.is_dir():
        raise InvalidInput(f"there is no folder {str(root)!r}: name a folder of Python source")
    if not os.access(resolved, os.R_OK | os.X_OK):
        raise InvalidInput(f"the folder {str(root)!r} cannot be read: change its rights, or name another")
    return resolved


def digest(content: bytes) -> str:
    """What a content is known by."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def python_files(root: Path, among: Sequence[str] | None = None) -> list[str]:
    """The Python files below a folder, sorted, with slashes.

    In a git work tree it is what git tracks or would track. Elsewhere folders called `build` and `dist` are
    left out. Hidden folders, virtual environments and `node_modules` are left out everywhere, and so are the odd
    names of `files_and_odd_names`.

    Args:
        among: Look at these files and folders below the root only.
    """
    return files_and_odd_names(root, among)[0]


def files_and_odd_names(root: Path, among: Sequence[str] | None = None) -> tuple[list[str], int]:
    """The same, and how many files are left out because no agent can be called after them.

    These have names that are not UTF-8, not printable, or longer than a thousand characters.
    """
    listed = _from_git(root, among)
    found = set(_walk(root, among) if listed is None else listed)
    sources = sorted(path for path in found if _is_source(path) and (root / path).is_file())
    named = [path for path in sources if _is_name(path)]
    return named, len(sources) - len(named)


def read(root: Path, path: str) -> bytes:
    """The content of a file.

    Raises:
        FileNotFoundError: It is not there any more.
        OSError: It cannot be read.
    """
    return (root / path).read_bytes()


def changed(root: Path, paths: Iterable[str], known: dict[str, str]) -> list[tuple[str, str]]:
    """Those of the paths whose content is not the known one, each with the hash of its content.

    The hash is empty where the file is gone, and "?" where it cannot be read.
    """
    different = []
    for path in paths:
        try:
            found = digest(read(root, path))
        except (FileNotFoundError, NotADirectoryError):
            found = ""
        except OSError:
            found = "?"
        if found != known.get(path, ""):
            different.append((path, found))
    return different


def concerns(path: PurePosixPath) -> bool:
    """Whether a change at a path below the root can matter: no folder around it is left out everywhere."""
    return not any(part.startswith(".") or part in _NEVER for part in path.parts)


def _is_source(path: str) -> bool:
    return path.endswith(".py") and concerns(PurePosixPath(path))


def _is_name(path: str) -> bool:
    return path.isprintable() and len(path) <= _LONGEST


def _walk(root: Path, among: Sequence[str] | None) -> Iterable[str]:
    for top in [""] if among is None else among:
        if not _is_left_out(root, top):
            if top.endswith(".py"):
                yield top
            yield from _walk_below(root, top)


def _is_left_out(root: Path, top: str) -> bool:
    above = (folder for folder in (PurePosixPath(top), *PurePosixPath(top).parents) if folder.name)
    return any(folder.name in _BUILT or (root / folder / "pyvenv.cfg").exists() for folder in above)


def _walk_below(root: Path, top: str) -> Iterable[str]:
    for folder, folders, names in os.walk(root / top):
        below = Path(folder).relative_to(root)
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".")
            and name not in _NEVER | _BUILT
            and not Path(folder, name, "pyvenv.cfg").exists()
        ]
        yield from ((below / name).as_posix() for name in names if name.endswith(".py"))


def _from_git(root: Path, among: Sequence[str] | None) -> list[str] | None:
    """What git lists; None where the folder is no work tree, is ignored by one, or git is missing."""
    git = shutil.which("git")
    if git is None or _run(git, root, "check-ignore", "--quiet", ".") != (1, b""):
        return None
    paths = ["*.py"] if among is None else [f":(literal){path}" for path in among]
    if not paths:
        return []
    status, listed = _run(git, root, "ls-files", "-co", "--exclude-standard", "-z", "--", *paths)
    return os.fsdecode(listed).split("\0")[:-1] if status == 0 else None


def _run(git: str, root: Path, *arguments: str) -> tuple[int, bytes]:
    done = subprocess.run(
        [git, "-C", str(root), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=_GIT_PATIENCE,
        check=False,
    )
    return done.returncode, done.stdout
