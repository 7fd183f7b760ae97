"""A search's snapshot for a terminal: a table, or one line."""

from __future__ import annotations

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from search.report.snapshot import duration

BAR_WIDTH = 8
WITHOUT_TRIAL = ("idle", "left")  # what a slot does that has none


def rendered(shown: dict[str, Any], dashboard: str = "", page: str = "") -> Group:
    """The snapshot as a table for a terminal, which fits 80 columns. dashboard, page: addresses."""
    slots = shown["slots"]
    title = f"search {shown['tag']}" + ("" if shown["running"] else " (not running)")
    table = Table(
        title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, pad_edge=False
    )
    many = len({(slot["node"], slot["model"]) for slot in slots}) > 1
    rows = [
        [f"gpu{slot['slot']}", *([where(slot)] if many else []), *doing(slot), slot.get("description") or ""]
        for slot in slots
    ]
    for column in ("slot", *(["where"] if many else []), "trial", "trained", "", "loss"):
        table.add_column(column, no_wrap=True)
    table.add_column("what it tries")  # the only one that gives way
    for *cells, description in rows:
        table.add_row(*map(Text, cells), Text(description, no_wrap=True, overflow="ellipsis"))
    counts, left = shown["counts"], shown["seconds_left"]
    lines = [
        f"{counts['experiments']} experiments: {counts['keep']} kept, {counts['discard']} discarded, "
        f"{counts['crash']} crashed; {shown['experiments_per_hour']:.0f} per hour",
        f"slots busy {shown['share_of_time_training']:.0%} of the time"
        + (f"; about {duration(left)} left" if left is not None else ""),
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
    lines += [f"page {page}"] if page else []
    lines += [f"Ray dashboard {dashboard}; its token: ray get-auth-token"] if dashboard else []
    return Group(table, Text("\n".join(lines)))


def doing(slot: dict[str, Any]) -> tuple[str, str, str, str]:
    """What a slot does: its trial, how far it is, that as a bar, and its loss."""
    if slot["doing"] in WITHOUT_TRIAL:
        return slot["doing"], "", "", ""
    used, budget = slot["training_seconds"], slot["budget_seconds"]
    full = round(BAR_WIDTH * min(used / budget, 1)) if used is not None and budget else 0
    bar = "█" * full + "░" * (BAR_WIDTH - full) if used is not None else ""
    return slot["trial"], progress_of(slot), bar, slot["loss"] or ""


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
    """How much of its budget a slot's trial has used, or what it does before and after."""
    if slot["doing"] != "training":
        return str(slot["doing"])
    return f"{slot['training_seconds']:.0f} / {slot['budget_seconds']:.0f} s"


def plain_line(shown: dict[str, Any]) -> str:
    """The snapshot in one line, for output that is no terminal."""
    counts, best = shown["counts"], shown["frontier"][-1:]
    parts = [
        f"{counts['experiments']} experiments, {counts['keep']} kept, {counts['crash']} crashed, "
        f"{shown['experiments_per_hour']:.0f} per hour" + (f", best {best[0]['score_in_words']}" if best else "")
    ]
    for slot in shown["slots"]:
        is_busy = slot["doing"] not in WITHOUT_TRIAL
        doing = f"{slot['trial']} {progress_of(slot)}" if is_busy else slot["doing"]
        parts.append(f"gpu{slot['slot']} {doing}" + (f" loss {slot['loss']}" if is_busy and slot["loss"] else ""))
    return " | ".join(parts)
