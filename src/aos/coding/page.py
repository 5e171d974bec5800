"""The report as one HTML page that needs nothing else: no address, no font, no script from outside."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path

from aos.clock import as_datetime
from aos.coding.report import FileRecord, moved, ranked, totals, worst_findings

_SEVERITIES = {"error": ("bad", 0), "warning": ("mid", 1), "info": ("", 2)}


def render_html(records: Sequence[FileRecord], *, root: str, at: float, rows: int = 3000) -> str:
    """The report as a page with sortable tables, for light and dark screens.

    Args:
        root: The folder it is about.
        at: When it is made, in seconds since the epoch.
        rows: Files in the table, the worst ones.
    """
    whole, worst = totals(records), ranked(records)
    name = escape(Path(root).name or root)
    tiles = [
        (f"{whole.score:.2f}", "score, by lines", _shade(whole.score)),
        (f"{whole.files:,}", "files", ""),
        (f"{whole.lines:,}", "lines", ""),
        (f"{whole.issues:,}", "issues", ""),
        (f"{whole.better:,}", "got better", "good" if whole.better else ""),
        (f"{whole.worse:,}", "got worse", "bad" if whole.worse else ""),
    ]
    more = f"<p class=soft>… and {len(worst) - rows:,} more files, none worse than these.</p>"
    return "".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>Code report: {name}</title><style>{_asset('page.css')}</style></head><body><main>",
            f"<h1>Code report: {name}</h1>",
            f"<p class=soft>{escape(root)} · made {as_datetime(at):%Y-%m-%d %H:%M:%S} UTC</p>",
            "<div class=tiles>",
            *(f"<div class=tile><b class='{shade}'>{n}</b><span>{text}</span></div>" for n, text, shade in tiles),
            "</div><h2>By category</h2>",
            _bars(whole.counts),
            "<h2>Worst findings</h2>",
            _findings(records),
            _changes("Got worse", moved(records, "worse")[:rows]),
            _changes("Got better", moved(records, "better")[:rows]),
            "<h2>Files, worst first</h2>",
            '<input id="filter" type="search" placeholder="Filter files" aria-label="Filter files">',
            _files(worst[:rows]),
            more if len(worst) > rows else "",
            f"</main><script>{_asset('page.js')}</script></body></html>\n",
        ]
    )


def _asset(name: str) -> str:
    return files("aos.coding").joinpath(name).read_text("utf-8")


def _shade(score: float) -> str:
    return "good" if score >= 0.8 else "mid" if score >= 0.5 else "bad"


def _bars(counts: dict[str, int]) -> str:
    most = max(counts.values(), default=0)
    bars = [
        f"<div class=bar><span>{escape(name)}</span><i style='width:{max(100 * count / most, 0.5):.1f}%'></i>"
        f"<span>{count:,}</span></div>"
        for name, count in counts.items()
    ]
    return f"<div class=bars>{''.join(bars) or 'No issues.'}</div>"


def _table(heads: Sequence[tuple[str, bool]], body: Sequence[str], *, name: str = "") -> str:
    cells = "".join(f"<th{' class=n' if number else ''}><button>{text}</button></th>" for text, number in heads)
    return (
        f"<div class=wrap><table{f' id={name}' if name else ''}><thead><tr>{cells}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _findings(records: Sequence[FileRecord]) -> str:
    rows = []
    for path, issue in worst_findings(records, 20):
        shade, order = _SEVERITIES[issue.severity]
        rows.append(
            f"<tr><td><code>{escape(path)}:{issue.line}</code></td>"
            f"<td data-v={order} class='{shade}'>{issue.severity}</td><td>{issue.category}</td>"
            f"<td><code>{escape(issue.rule)}</code></td><td>{escape(issue.message)}</td></tr>"
        )
    heads = [("where", False), ("severity", False), ("category", False), ("rule", False), ("finding", False)]
    return _table(heads, rows)


def _changes(title: str, records: Sequence[FileRecord]) -> str:
    if not records:
        return ""
    rows = [
        f"<tr><td><code>{escape(r.path)}</code></td>"
        f"<td class='n {'good' if r.delta > 0 else 'bad'}' data-v={r.delta}>{r.delta:+.2f}</td>"
        f"<td>{escape(r.change)}</td><td class=n data-v={r.reviewed_at}>{_when(r.reviewed_at)}</td></tr>"
        for r in records
    ]
    heads = [("file", False), ("score", True), ("what changed", False), ("reviewed", True)]
    return f"<h2>{title}</h2>{_table(heads, rows)}"


def _files(records: Sequence[FileRecord]) -> str:
    rows = [
        f"<tr><td><code>{escape(r.path)}</code></td><td class='n {_shade(r.score)}'>{r.score:.2f}</td>"
        f"<td>{_trend(r.trend)}</td><td class=n data-v={r.total}>{r.total:,}</td>"
        f"<td class=n>{r.complexity}</td>"
        f"<td class=n data-v={-1 if r.maintainability is None else r.maintainability}>"
        f"{'' if r.maintainability is None else f'{r.maintainability:.0f}'}</td>"
        f"<td class=n data-v={r.lines}>{r.lines:,}</td><td class=n>{r.reviews}</td>"
        f"<td>{escape(r.findings[0].rule + ' ' + r.findings[0].message) if r.findings else ''}</td></tr>"
        for r in records
    ]
    heads = [("file", False), ("score", True), ("trend", False), ("issues", True), ("complexity", True)]
    heads += [("maintainability", True), ("lines", True), ("reviews", True), ("worst finding", False)]
    return _table(heads, rows, name="files")


def _trend(scores: Sequence[float]) -> str:
    if len(scores) < 2:
        return ""
    step = 60 / (len(scores) - 1)
    points = " ".join(f"{i * step:.1f},{15 - score * 14:.1f}" for i, score in enumerate(scores))
    words = ", ".join(f"{score:.2f}" for score in scores)
    return f'<svg width="60" height="16" role="img" aria-label="{words}"><polyline points="{points}"/></svg>'


def _when(seconds: float) -> str:
    return f"{as_datetime(seconds):%Y-%m-%d %H:%M}"
