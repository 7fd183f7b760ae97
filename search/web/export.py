"""A search as one file to send: the content of its page, without photos, and without anything that is live."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from markupsafe import Markup

from search.system.files import write_aside
from search.web.pages import experiments, lineage, overview
from search.web.pages.source import PageSource
from search.web.site import HERE, environment

MOST_ROWS = 2000  # more would make it too large to send: those kept, the best, and the latest


def report_html(source: PageSource) -> str:
    """The whole of it."""
    from search.web.pages.axes import AxesPage  # Optuna takes its time to load

    task, templates = source.task, environment()
    rows = rows_to_send(source.once(experiments.rows_of))
    frame: dict[str, Any] = {
        "tag": source.tag,
        "task": task,
        "running": source.running,
        "exported": True,
        "style": (HERE / "static" / "page.css").read_text(),
        "shown_rows": len(rows),
        "every": len({one.experiment for one in source.records.decisions}),
    }
    table = {
        "query": None,
        "rows": rows,
        "rates": list(task.shown_rates.values()),
        "second": task.tie_breaker.name if task.tie_breaker else "",
    }
    parts = [
        ("overview", "Overview", "overview.html", overview.overview(source)),
        ("experiments", "Experiments", "rows.html", table),
        ("lineage", "Lineage", "lineage.html", lineage.lineage(source)),
        ("axes", "Axes", "axes.html", AxesPage(source).shown()),
        ("proposals", "Proposals", "proposals.html", lineage.proposals(source)),
        ("cluster", "Cluster", "cluster.html", lineage.cluster(source)),
    ]
    if source.records.audit is not None:
        parts.insert(-1, ("audit", "Audit", "audit.html", {"audit": source.records.audit}))
    rendered = [
        (name, words, Markup(templates.get_template(f"parts/{template}").render({**frame, **values})))
        for name, words, template, values in parts
    ]
    return templates.get_template("report.html").render({**frame, "parts": rendered})


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
