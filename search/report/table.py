"""A search's snapshot for a terminal: a table, or one line."""

from __future__ import annotations

from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text


def rendered(shown: dict[str, Any], dashboard: str = "") -> Group:
    """The snapshot as a table for a terminal."""
    table = Table(title=f"search {shown['tag']}" + ("" if shown["running"] else " (not running)"), expand=False)
    for column in ("slot", "where", "trial", "experiment", "trained / budget", "loss"):
        table.add_column(column)
    for slot in shown["slots"]:
        if slot["left"] or slot["trial"] is None:
            table.add_row(f"gpu{slot['slot']}", where(slot), "", "left" if slot["left"] else "idle", "", "")
            continue
        table.add_row(
            f"gpu{slot['slot']}",
            where(slot),
            slot["trial"],
            Text(slot["description"]),
            progress_of(slot),
            slot["loss"] or "",
        )
    counts = shown["counts"]
    lines = [
        f"{counts['experiments']} experiments: {counts['keep']} kept, {counts['discard']} discarded, "
        f"{counts['crash']} crashed; {shown['experiments_per_hour']:.0f} per hour; training "
        f"{shown['share_of_time_training']:.0%} of the slots' time"
    ]
    lines += ["paused: no new trial begins; python -m search.resume"] if shown["paused"] else []
    lines += [proposals_line(shown["proposals"])] if any(shown["proposals"].values()) else []
    lines += [
        "  ".join(
            filter(None, ["", kept["commit"], kept["score_in_words"], kept["rates_in_words"], kept["description"]])
        )
        for kept in shown["frontier"][-6:]
    ]
    lines += [f"recommended: {shown['recommended']['words']}"] if shown["recommended"] else []
    lines += [f"Ray dashboard {dashboard}"] if dashboard else []
    return Group(table, Text("\n".join(lines)))


def proposals_line(counts: dict[str, Any]) -> str:
    """In one line."""
    thinks = f"; {counts['agent_thinks']} thinks" if counts["agent_thinks"] else ""
    return f"proposals: {counts['tried']} tried, {counts['waiting']} waiting, {counts['refused']} refused{thinks}"


def where(slot: dict[str, Any]) -> str:
    """A slot's node, GPU and card, as far as they are known."""
    if slot["node"] is None:
        return ""
    return f"{slot['node']}:{slot['gpu']}" + (f" {slot['model']}" if slot["model"] else "")


def progress_of(slot: dict[str, Any]) -> str:
    """How much of its budget a slot's trial has used."""
    if slot["training_seconds"] is None:
        return "starting"
    return f"{slot['training_seconds']:.0f} / {slot['budget_seconds']:.0f} s"


def plain_line(shown: dict[str, Any]) -> str:
    """The snapshot in one line, for output that is no terminal."""
    counts, best = shown["counts"], shown["frontier"][-1:]
    parts = [
        f"{counts['experiments']} experiments, {counts['keep']} kept, {counts['crash']} crashed, "
        f"{shown['experiments_per_hour']:.0f} per hour" + (f", best {best[0]['score_in_words']}" if best else "")
    ]
    for slot in shown["slots"]:
        is_busy = slot["trial"] and not slot["left"]
        doing = f"{slot['trial']} {progress_of(slot)}" if is_busy else "left" if slot["left"] else "idle"
        parts.append(f"gpu{slot['slot']} {doing}" + (f" loss {slot['loss']}" if is_busy and slot["loss"] else ""))
    return " | ".join(parts)
