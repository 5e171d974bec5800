"""Scores and comparisons of measurements."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aos.coding import CodeQualityMetrics, Issue, compare
from aos.coding.metrics import UNMEASURED, metrics_of, score_of

WORSE = {"info": "warning", "warning": "error"}
issues = st.lists(
    st.builds(
        Issue,
        st.sampled_from(["F401", "S608", "D103", "C901"]),
        st.sampled_from(["a", "b", "c"]),
        st.integers(0, 99),
        severity=st.sampled_from(["error", "warning", "info"]),
    ),
    max_size=40,
)
lines = st.integers(0, 5000)


def test_metrics_are_made_from_a_score_and_issues_alone():
    """The form of the seed documents constructs, and nothing in it is invented."""
    metrics = CodeQualityMetrics(score=0.9, issues=[])
    assert (metrics.score, metrics.issues, metrics.total, metrics.simulated) == (0.9, [], 0, False)


@pytest.mark.parametrize("score", [-0.1, 1.1, float("nan")])
def test_a_score_outside_its_range_is_refused(score):
    """No number but 0.0 to 1.0 is a score."""
    with pytest.raises(ValueError, match=r"between 0\.0 and 1\.0"):
        CodeQualityMetrics(score=score, issues=[])


@given(issues, lines)
def test_a_score_is_between_zero_and_one(found, size):
    """Any issues in a file of any size give a score, and only none at all gives 1."""
    score = score_of(found, lines=size)
    assert 0.0 < score <= 1.0
    assert (score == 1.0) == (not found) or size > 100


@given(issues, issues, lines)
def test_more_issues_never_raise_the_score(found, more, size):
    """Adding issues leaves the score or lowers it."""
    assert score_of(found + more, lines=size) <= score_of(found, lines=size)


@given(issues.filter(lambda found: any(i.severity in WORSE for i in found)), lines, st.data())
def test_a_worse_issue_never_raises_the_score(found, size, data):
    """Making one issue more severe leaves the score or lowers it."""
    at = data.draw(st.sampled_from([n for n, i in enumerate(found) if i.severity in WORSE]))
    worse = list(found)
    worse[at] = msgspec.structs.replace(found[at], severity=WORSE[found[at].severity])
    assert score_of(worse, lines=size) <= score_of(found, lines=size)


@given(issues.filter(bool), st.integers(1, 2500))
def test_the_score_is_normalised_by_size(found, size):
    """The same issues weigh less in a longer file."""
    assert score_of(found, lines=2 * size) >= score_of(found, lines=size)


@pytest.mark.parametrize("rule", sorted(UNMEASURED))
def test_what_could_not_be_measured_has_no_score(rule):
    """A file that no tool could read scores 0, however little else is wrong with it."""
    assert score_of([Issue(rule, "why")], lines=1000) == 0.0


@given(issues)
def test_metrics_survive_json(found):
    """Metrics are equal after a walk through JSON."""
    metrics = metrics_of(found, lines=10)
    assert msgspec.json.decode(msgspec.json.encode(metrics), type=CodeQualityMetrics) == metrics


@given(issues)
def test_issues_are_sorted_and_counted(found):
    """The worst issue comes first, and the counts add up to all of them."""
    metrics = metrics_of(found, lines=10)
    severities = [["error", "warning", "info"].index(i.severity) for i in metrics.issues]
    assert severities == sorted(severities)
    assert sum(metrics.counts.values()) == sum(metrics.rules.values()) == metrics.total == len(found)


@given(issues, st.integers(0, 50))
def test_a_brief_says_what_it_leaves_out(found, limit):
    """Leaving issues out changes neither score, counts nor total."""
    whole = metrics_of(found, lines=10)
    brief = whole.brief(limit)
    assert len(brief.issues) <= limit or brief == whole
    assert (brief.score, brief.counts, brief.rules, brief.total) == (
        whole.score,
        whole.counts,
        whole.rules,
        len(found),
    )


@given(issues, issues)
def test_a_comparison_accounts_for_every_issue(before, after):
    """What was there, less what is gone, plus what is new, is what is there."""
    change = compare(metrics_of(before, lines=10), metrics_of(after, lines=10))
    assert len(before) - len(change.gone) + len(change.new) == len(after)


@given(issues, st.integers(1, 500))
def test_code_that_moved_has_not_changed(found, shift):
    """Issues that stand on other lines than before are neither gone nor new."""
    moved = [msgspec.structs.replace(issue, line=issue.line + shift) for issue in found]
    change = compare(metrics_of(found, lines=10), metrics_of(moved, lines=10))
    assert (change.gone, change.new, change.verdict) == ([], [], "same")


def test_the_first_look_compares_with_nothing():
    """Without a measurement before, all issues are new and nothing got worse."""
    change = compare(None, metrics_of([Issue("F401", "unused")], lines=10))
    assert (change.verdict, change.before, change.delta, len(change.new)) == ("first", None, 0.0, 1)
    assert change.text == "first look: 0.87"


def test_a_change_reads_as_one_line():
    """The line says better or worse, from where to where, what is gone and what is new."""
    before = metrics_of([Issue("F401", "`os` unused"), Issue("B006", "mutable", severity="error")], lines=100)
    after = metrics_of([Issue("F401", "`os` unused"), Issue("D103", "no docstring", severity="info")], lines=100)
    assert compare(before, after).text == "better: 0.61 → 0.86, gone: B006 mutable, new: D103 no docstring"
    assert compare(after, before).verdict == "worse"


def test_briefs_are_compared_by_rule():
    """Where issues were left out, the counts by rule still tell what is gone and what is new."""
    before = metrics_of([Issue("F401", str(n)) for n in range(9)], lines=10).brief(2)
    after = metrics_of([Issue("F401", str(n)) for n in range(4)] + [Issue("E711", "x")], lines=10)
    change = compare(before, after)
    assert [(i.rule, i.message) for i in change.gone] == [("F401", "5 fewer")]
    assert [(i.rule, i.message) for i in change.new] == [("E711", "1 more")]
