"""A search as one file to send: the content of its page, without photos, and without anything that is live."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from search.system.files import write_aside
from search.web.app import HERE, environment
from search.web.pages import experiments, lineage, overview
from search.web.pages.source import PageSource

MOST_ROWS = 2000  # more would make it too large to send: those kept, the best, and the latest


def report_html(source: PageSource) -> str:
    """The whole of it."""
    from search.web.pages.axes import AxesPage  # Optuna takes its time to load

    rows = rows_to_send(experiments.rows_of(source))
    every = len({one.experiment for one in source.records.decisions})
    frame: dict[str, Any] = {
        "tag": source.tag,
        "task": source.task,
        "running": source.running,
        "exported": True,
        "style": (HERE / "static" / "page.css").read_text(),
        "settings_of_search": lineage.settings_shown(source) if source.records.settings else [],
        "audit": source.records.audit,
    }
    table = {
        "query": None,
        "rows": rows,
        "every": every,
        "rates_of_rows": list(source.task.shown_rates.values()),
        "second": source.task.tie_breaker.name if source.task.tie_breaker else "",
    }
    parts = {
        "overview": overview.overview(source),
        "table": table,
        "lineage": lineage.lineage(source),
        "axes": AxesPage(source).shown(),
        "proposals": lineage.proposals(source),
        "cluster": lineage.cluster(source),
    }
    return environment().get_template("report.html").render({**frame, "parts": parts})


def rows_to_send(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All rows, if they are few; else those that say most, in their order."""
    if len(rows) <= MOST_ROWS:
        return rows
    kept = [row for row in rows if row["status"] == "keep"][-MOST_ROWS // 4 :]
    best = sorted((row for row in rows if row["value"] is not None), key=lambda row: -row["value"])[: MOST_ROWS // 4]
    wanted = {row["number"] for row in (*kept, *best)}
    for row in reversed(rows):
        if len(wanted) >= MOST_ROWS:
            break
        wanted.add(row["number"])
    return [row for row in rows if row["number"] in wanted]


def export(source: PageSource, path: Path) -> int:
    """Writes it to a file in a folder that is there; its size in bytes. Raises OSError."""
    source.refresh()
    text = report_html(source).encode()
    write_aside(path, lambda stream: stream.write(text))
    return len(text)
