"""What the pages of experiments show: the table, and one experiment with all that is known of it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from search.core.seeds import purpose_of
from search.core.types import Decision, Outcome, short
from search.web.pages import charts
from search.web.pages.overview import status_of
from search.web.pages.source import PageSource

PER_PAGE = 100
STATUSES = ("keep", "discard", "crash", "stopped")
SHADES = 6  # of a confusion matrix
NOTHING = -math.inf


@dataclass(frozen=True)
class Query:
    """What the table shows. order: a column, with - before it for the largest first. page: from 1."""

    text: str = ""
    status: str = ""
    order: str = "-number"
    page: int = 1

    @classmethod
    def of(cls, given: Mapping[str, str]) -> Query:
        """What a form or an address asks for; what means nothing is as if it were not there."""
        page = given.get("page", "1")
        order = given.get("order", "-number")
        return cls(
            given.get("text", "")[:200],
            given.get("status", "") if given.get("status", "") in STATUSES else "",
            order if order.removeprefix("-") in COLUMNS else "-number",
            int(page) if page.isdecimal() and 0 < int(page) < 10**6 else 1,
        )

    def address(self, **changed: Any) -> str:
        """Of the same table, with something else asked for."""
        asked = {"text": self.text, "status": self.status, "order": self.order, "page": self.page} | changed
        return "/experiments?" + urlencode({name: value for name, value in asked.items() if value not in ("", None)})


Row = dict[str, Any]
COLUMNS: dict[str, Callable[[Row], Any]] = {
    "number": lambda row: row["number"],
    "status": lambda row: row["status"],
    "score": lambda row: NOTHING if row["value"] is None else row["value"],
    "gain": lambda row: NOTHING if row["gain"] is None else row["gain"],
    "memory": lambda row: row["memory_gb"],
    "seconds": lambda row: row["seconds"] or 0.0,
    "time": lambda row: row["time"],
}


def table(source: PageSource, query: Query) -> dict[str, Any]:
    """A page of the table."""
    rows = [row for row in source.once(rows_of) if is_wanted(row, query)]
    rows.sort(key=COLUMNS[query.order.removeprefix("-")], reverse=query.order.startswith("-"))
    pages = max(math.ceil(len(rows) / PER_PAGE), 1)
    page = min(query.page, pages)
    return {
        "query": query,
        "rows": rows[(page - 1) * PER_PAGE : page * PER_PAGE],
        "found": len(rows),
        "all": len({one.experiment for one in source.records.decisions}),
        "page": page,
        "page_count": pages,
        "rates": list(source.task.shown_rates.values()),
        "second": source.task.tie_breaker.name if source.task.tie_breaker else "",
        "statuses": STATUSES,
    }


def is_wanted(row: Row, query: Query) -> bool:
    words = query.text.lower().split()
    text = f"{row['number']} {row['commit']} {row['description']} {row['reason']}".lower()
    return (not query.status or row["status"] == query.status) and all(word in text for word in words)


def rows_of(source: PageSource) -> list[Row]:
    """Every experiment, in order of decision."""
    records, task = source.records, source.task
    frontier = {one.experiment for one in records.frontier}
    latest = {one.experiment: one for one in records.decisions}
    seconds: dict[int, float] = {}
    for outcome in records.outcomes:
        seconds[outcome.experiment] = seconds.get(outcome.experiment, 0.0) + max(outcome.ended - outcome.began, 0.0)
    found = []
    for number, one in latest.items():
        gain = one.score.primary - one.incumbent_score.primary if one.score and one.incumbent_score else None
        found.append(
            {
                "number": number,
                "commit": short(one.commit),
                "status": status_of(one, number in frontier),
                "value": one.score.primary if one.score else None,
                "score": task.text_each(one.score) if one.score else [],
                "gain": gain,
                "gain_text": "" if gain is None else task.metric.gain(gain),
                "rates": [
                    "" if one.metrics.get(name) is None else f"{one.metrics[name]:.2f}" for name in task.shown_rates
                ],
                "seeds": len(one.seeds),
                "memory_gb": one.memory_gb,
                "seconds": seconds.get(number),
                "description": one.description,
                "reason": one.reason.partition("\n")[0],
                "slot": one.slot,
                "time": one.time,
            }
        )
    return found


def experiment(source: PageSource, number: int) -> dict[str, Any] | None:
    """All that is known of one experiment; None if there is none of this number."""
    records, task = source.records, source.task
    decisions = [one for one in records.decisions if one.experiment == number]
    outcomes = sorted((one for one in records.outcomes if one.experiment == number), key=lambda one: one.seed)
    if not decisions and not outcomes:
        return None
    decision = decisions[-1] if decisions else None
    frontier = {one.experiment for one in records.frontier}
    seed = records.settings.seed if records.settings else 0
    shown = {
        "number": number,
        "status": status_of(decision, number in frontier) if decision else "running",
        "description": decision.description if decision else "not decided yet",
        "commit": short(decision.commit) if decision else short(outcomes[0].commit),
        "decision": decision and sides(source, decision),
        "earlier": [f"{one.status}: {one.reason}" for one in decisions[:-1]],
        "changes": list(decision.changes) if decision else [],
        "trials": [trial_shown(source, one, purpose_of(one.seed, seed) is not None) for one in outcomes],
        "confusion": confusion_of(source, outcomes),
        "diff": patch_lines(source.difference(decision)) if decision else [],
        "has_git": source.repository is not None,
        "log": source.log_of(outcomes[0]) if outcomes else "",
        "traceback": next((one.traceback for one in outcomes if one.traceback), ""),
        "metrics": decision.metrics if decision else {},
        "note": decision.note if decision else "",
        "metric": task.metric,
    }
    numbers = list(dict.fromkeys(one.experiment for one in records.decisions))
    if number in numbers:
        place = numbers.index(number)
        shown["before"] = numbers[place - 1] if place else None
        shown["after"] = numbers[place + 1] if place + 1 < len(numbers) else None
    return shown


def sides(source: PageSource, decision: Decision) -> dict[str, Any]:
    """A decision in words, with both sides as they were at that time."""
    task = source.task
    ours = task.shown(decision.score) if decision.score else ""
    theirs = task.shown(decision.incumbent_score) if decision.incumbent_score else ""
    incumbent = next((one for one in source.records.decisions if one.commit == decision.incumbent), None)
    return {
        "status": str(decision.status),
        "reason": decision.reason,
        "ours": ours,
        "seeds": len(decision.seeds),
        "theirs": theirs,
        "their_seeds": len(decision.incumbent_seeds),
        "incumbent": short(decision.incumbent),
        "incumbent_number": incumbent.experiment if incumbent else None,
        "probability": decision.probability,
        "estimate": None if decision.estimate is None else task.metric.text(decision.estimate),
        "time": time.strftime("%d %B %Y, %H:%M:%S", time.localtime(decision.time)),
        "rates": task.rates_text(decision.metrics),
        "memory_gb": decision.memory_gb,
        "own_word": task.by_own_word,
    }


def trial_shown(source: PageSource, outcome: Outcome, is_fresh: bool) -> dict[str, Any]:
    stopped = outcome.stopped
    ended = source.task.shown(outcome.score) if outcome.score else outcome.reason
    if stopped is not None:
        expected = source.task.metric.text(stopped.expected)
        ended = f"stopped after {stopped.seconds:.0f} s: it would have scored about {expected}"
    return {
        "name": outcome.trial,
        "seed": outcome.seed,
        "slot": outcome.slot,
        "is_fresh": is_fresh,
        "ended": ended,
        "crashed": outcome.crashed,
        "curve": charts.sparkline(outcome.losses, f"training loss of {outcome.trial}"),
        "seconds": max(outcome.ended - outcome.began, 0.0),
        "training": outcome.speed.get("training_seconds"),
        "memory_mb": outcome.memory_mb,
        "violations": outcome.violations,
        "machine": outcome.machine,
    }


def confusion_of(source: PageSource, outcomes: list[Outcome]) -> dict[str, Any] | None:
    """The confusion matrix over all its seeds, rows the true classes, with a shade for each cell; None if no scorer
    gave any."""
    matrices = [one.metrics["confusion"] for one in outcomes if one.metrics.get("confusion")]
    if not matrices or len({len(one) for one in matrices}) != 1:
        return None
    size = len(matrices[0])
    total = [[sum(one[row][column] for one in matrices) for column in range(size)] for row in range(size)]
    rows = [[(count, round((SHADES - 1) * count / (sum(row) or 1))) for count in row] for row in total]
    return {"rows": rows, "seeds": len(matrices)}


def patch_lines(patch: str) -> list[tuple[str, str]]:
    """Each line of a patch with its kind: add, cut, place, or same; without the lines that name the file."""
    kinds = {"+": "add", "-": "cut", "@": "place"}
    lines = patch.splitlines()
    begin = next((place for place, line in enumerate(lines) if line.startswith("@@")), len(lines))
    return [(kinds.get(line[:1], "same"), line) for line in lines[begin:]]
