"""Reports: ranking, rendering and writing."""

import os
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aos.coding import Issue
from aos.coding.page import render_html
from aos.coding.report import (
    FileRecord,
    ranked,
    render_markdown,
    sparkline,
    totals,
    worst_findings,
    write_atomically,
)

EVIL = "</script><img src=x onerror=alert(1)>|`'\"&\n# x"
VOID = {"meta", "input", "polyline"}
GOOD = FileRecord("good.py", 1.0, lines=10)
BAD = FileRecord(
    "bad.py",
    0.4,
    total=2,
    lines=30,
    counts={"security": 1, "lint": 1},
    findings=[Issue("S602", "shell", 3, severity="error", category="security"), Issue("E711", "none", 4)],
    verdict="worse",
    delta=-0.2,
    change="worse: 0.60 → 0.40",
    trend=[0.6, 0.4],
    reviews=2,
)


class Page(HTMLParser):
    """The elements and the words of a page; complains about elements that are not closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.words, self.attributes = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.words.append(data)


def test_the_worst_file_comes_first():
    """Files are ranked by score, then by how many issues they have."""
    many = FileRecord("many.py", 0.4, total=9)
    assert [record.path for record in ranked([GOOD, BAD, many])] == ["many.py", "bad.py", "good.py"]


def test_totals_add_up():
    """Totals count files, lines, issues and changes; the score is weighted by lines."""
    whole = totals([GOOD, BAD])
    assert (whole.files, whole.lines, whole.issues, whole.worse, whole.better) == (2, 40, 2, 1, 0)
    assert whole.score == pytest.approx((10 * 1.0 + 30 * 0.4) / 40)


def test_the_worst_findings_are_ranked():
    """Errors come before warnings, security before the rest, and never more than asked for."""
    found = worst_findings([GOOD, BAD], 10)
    assert [(path, issue.rule) for path, issue in found] == [("bad.py", "S602"), ("bad.py", "E711")]
    assert len(worst_findings([BAD], 1)) == 1


def test_the_page_needs_nothing_from_outside():
    """No address, style sheet, script or picture is loaded from anywhere."""
    page = Page(render_html([GOOD, BAD], root="/src/app", at=0.0))
    assert {"link", "img", "iframe"}.isdisjoint(page.tags)
    assert not [value for name, value in page.attributes if name in {"src", "href"}]
    assert "http" not in render_html([GOOD, BAD], root="/src/app", at=0.0)


def test_the_page_escapes_what_it_shows():
    """A path, a message or a root that looks like markup is text on the page."""
    record = FileRecord(EVIL, 0.1, findings=[Issue(EVIL, EVIL)], verdict="worse", delta=-0.1, change=EVIL)
    page = Page(render_html([record], root=EVIL, at=0.0))
    assert "img" not in page.tags
    assert page.tags.count("script") == 1
    assert EVIL in page.words


@given(st.text(), st.text())
def test_any_text_makes_a_whole_page(path, message):
    """Whatever a path or a message has in it, every element of the page is closed."""
    Page(render_html([FileRecord(path, 0.5, findings=[Issue("F1", message)])], root="x", at=0.0))


def test_markdown_keeps_its_rows():
    """A path or message with bars, line breaks or tags stays in its own cell."""
    record = FileRecord(EVIL, 0.1, findings=[Issue("F1", EVIL)], verdict="worse", change=EVIL)
    text = render_markdown([record], root="x", at=0.0)
    assert "<img" not in re.sub("`[^`\n]*`", "", text)
    assert not [line for line in text.splitlines() if line.startswith("# x")]
    rows = [line.replace("\\|", "") for line in text.splitlines() if line.startswith("|")]
    assert {row.count("|") for row in rows[-1:]} == {8}


def test_markdown_says_what_changed():
    """The report names the files that got worse and in what."""
    text = render_markdown([GOOD, BAD], root="/src/app", at=0.0)
    assert "## Got worse\n\n- `bad.py` worse: 0.60 → 0.40" in text
    assert "## Got better" not in text


@pytest.mark.parametrize("render", [render_markdown, render_html])
def test_a_long_report_says_what_it_leaves_out(render):
    """Only the worst files are listed, and the report says how many there are besides."""
    records = [FileRecord(f"{n}.py", n / 100) for n in range(50)]
    text = render(records, root="x", at=0.0, rows=10)
    assert "and 40 more files" in text
    assert ("9.py" in text, "30.py" in text) == (True, False)


@pytest.mark.parametrize("render", [render_markdown, render_html])
def test_a_report_on_nothing_is_a_report(render):
    """A folder without Python files has a report that says zero."""
    assert "0 files" in render([], root="x", at=0.0) or ">0</b><span>files" in render([], root="x", at=0.0)


def test_scores_draw_a_line():
    """The trend rises with the scores and stays within its bars at both ends."""
    assert sparkline([0.0, 0.5, 1.0]) == "▁▅█"


def test_a_report_is_replaced_as_a_whole(tmp_path):
    """Writing leaves the new text and nothing beside it."""
    path = tmp_path / "report.md"
    for text in ("old", "new\n"):
        write_atomically(path, text)
    assert path.read_text() == "new\n"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_report(tmp_path, monkeypatch, broken):
    """When the disk fails at any step, the old report is whole and the error is raised."""
    path = tmp_path / "report.md"
    write_atomically(path, "old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, broken, fail)
    if broken == "replace":
        monkeypatch.setattr("pathlib.Path.replace", fail)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
