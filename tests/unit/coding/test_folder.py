"""Which files are reviewed."""

import os
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aos.coding.folder import changed, check_folder, concerns, digest, files_and_odd_names, python_files
from aos.errors import InvalidInput


def fill(root, *paths):
    """Make files, each with its own path as its content."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(f"# {path}\n")


@pytest.fixture
def repository(tmp_path):
    """A git work tree that ignores `made/`, with a package called `build`."""
    if shutil.which("git") is None:
        pytest.skip("git is missing: apt-get install git")
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    fill(tmp_path, "a.py", "build/b.py", "made/c.py", ".hidden/d.py", "node_modules/e.py", "f.txt")
    (tmp_path / ".gitignore").write_text("made/\n")
    return tmp_path


def test_python_files_are_found_in_order(tmp_path):
    """Every Python file below the folder is found, sorted, with slashes."""
    fill(tmp_path, "z.py", "a/b/c.py", "a/b.txt", "a.py", "a/d.pyc")
    assert python_files(tmp_path) == ["a.py", "a/b/c.py", "z.py"]


@pytest.mark.parametrize("folder", [".git", ".venv", "venv", "__pycache__", "node_modules", "build", "dist", "a/.x"])
def test_made_and_hidden_folders_are_left_out(tmp_path, folder):
    """What tools make or hide is not reviewed."""
    fill(tmp_path, f"{folder}/x.py", "a/y.py")
    assert python_files(tmp_path) == ["a/y.py"]
    assert python_files(tmp_path, [folder, f"{folder}/x.py"]) == []


def test_a_virtual_environment_of_any_name_is_left_out(tmp_path):
    """A folder with `pyvenv.cfg` is not reviewed."""
    fill(tmp_path, "myenv/lib/x.py", "a.py")
    (tmp_path / "myenv/pyvenv.cfg").touch()
    assert python_files(tmp_path) == ["a.py"]
    assert python_files(tmp_path, ["myenv/lib", "a.py"]) == ["a.py"]


def test_git_decides_in_a_work_tree(repository):
    """Ignored files are left out, files that git would track are reviewed, whatever their folder is called."""
    assert python_files(repository) == ["a.py", "build/b.py"]
    assert python_files(repository, ["made", "made/c.py", "build", "f.txt"]) == ["build/b.py"]


def test_a_folder_that_git_ignores_can_be_reviewed(repository):
    """Naming an ignored folder reviews it: git has no say there."""
    assert python_files(repository / "made") == ["c.py"]


def test_without_git_the_folder_is_walked(repository, monkeypatch):
    """A machine without git reviews what lies there."""
    monkeypatch.setenv("PATH", "")
    assert python_files(repository) == ["a.py", "made/c.py"]


def test_a_deleted_file_is_not_there(repository):
    """A file that git still tracks and that is gone is not listed."""
    subprocess.run(["git", "-C", repository, "add", "a.py"], check=True)
    (repository / "a.py").unlink()
    assert python_files(repository) == ["build/b.py"]


def test_names_that_no_agent_can_have_are_left_out(tmp_path):
    """A name that is not UTF-8, or not printable, is counted and does not stop the others."""
    fill(tmp_path, "é x'\"<b>|*>.py", "new\nline.py")
    (tmp_path / os.fsdecode(b"\xff.py")).touch()
    assert files_and_odd_names(tmp_path) == (["é x'\"<b>|*>.py"], 2)


def test_odd_files_are_left_out(tmp_path):
    """A pipe, a folder and a dangling link called `.py` are no source."""
    os.mkfifo(tmp_path / "pipe.py")
    (tmp_path / "folder.py").mkdir()
    (tmp_path / "link.py").symlink_to(tmp_path / "nowhere")
    assert python_files(tmp_path) == []


@given(st.lists(st.sampled_from(["a.py", "x/b.py", "x/y/c.py", "build/d.py", ".h/e.py"]), unique=True))
def test_looking_at_some_is_part_of_looking_at_all(tmp_path_factory, paths):
    """A file is listed on its own exactly if it is listed with all others."""
    root = tmp_path_factory.mktemp("root")
    fill(root, *paths)
    assert sorted(path for path in paths if python_files(root, [path])) == python_files(root)


def test_only_other_content_is_a_change(tmp_path):
    """A file is changed if its content is not the known one; one that is gone has no hash."""
    fill(tmp_path, "same.py", "other.py", "new.py")
    known = {"same.py": digest(b"# same.py\n"), "other.py": "1", "gone.py": "2"}
    found = changed(tmp_path, ["same.py", "other.py", "new.py", "gone.py", "never.py"], known)
    assert dict(found) == {"other.py": digest(b"# other.py\n"), "new.py": digest(b"# new.py\n"), "gone.py": ""}


def test_a_file_that_cannot_be_read_is_a_change(tmp_path):
    """It is told with a hash that no content has, once."""
    (tmp_path / "a.py").mkdir()
    assert changed(tmp_path, ["a.py"], {}) == [("a.py", "?")]
    assert changed(tmp_path, ["a.py"], {"a.py": "?"}) == []


def test_what_is_no_folder_is_refused(tmp_path):
    """A file or nothing at all is refused with a line that names it."""
    fill(tmp_path, "a.py")
    for path in (tmp_path / "a.py", tmp_path / "nothing"):
        with pytest.raises(InvalidInput, match=path.name):
            check_folder(path)


@pytest.mark.parametrize(("path", "expected"), [("a/b.py", True), (".aos/x/b.py", False), ("a/__pycache__", False)])
def test_changes_in_left_out_folders_do_not_matter(path, expected):
    """The steward's own files, below `.aos`, cannot wake it."""
    from pathlib import PurePosixPath

    assert concerns(PurePosixPath(path)) is expected
