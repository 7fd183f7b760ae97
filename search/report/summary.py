"""Writes what frontier.py finds: analysis_summary.json, analysis_summary.md and progress.png."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from search.core.types import Status
from search.records.results_tsv import Row
from search.report.costs import cost_lines, costs_of
from search.report.evidence import METHOD, believed
from search.report.frontier import Entry, analyse, steps
from search.report.history import History
from search.report.proposals import proposal_lines, proposals_of
from search.system.files import write_aside, write_text
from search.task.metrics import ITEMS, PRIMARY, SECONDARY

FIRST, SECOND = PRIMARY.name, SECONDARY.name

LABEL_WIDTH = 44  # characters
MOST_LABELS = 14
MOST_NUMBERS = 60  # of the kept, the latest: more would cover each other
MOST_PROPOSALS = 30  # in the brief; the JSON has them all
MOST_MEMORY_NOTES = 5  # in the brief; the JSON has them all


def merged_rows(paths: Sequence[Path], history: History) -> list[Row]:
    """The rows of these results.tsv files as one history. Raises LedgerError if they cannot be merged."""
    return [entry.row for entry in history.entries(paths)]


def summarise(paths: Sequence[Path], folder: Path, history: History) -> dict[str, Any]:
    """Merges the files and writes the derived ones into the folder; the JSON's content.

    Raises LedgerError if the files cannot be merged.
    """
    entries = history.entries(paths)
    analysis = analyse(entries, history.facts)
    records = history.records
    analysis["costs"] = costs_of(records) if records else None
    analysis["proposals"] = proposals_of(records) if records else []
    write_text(folder / "analysis_summary.json", json.dumps(analysis, indent=2) + "\n")
    write_text(folder / "analysis_summary.md", markdown(analysis))
    draw_progress(progress_of(entries, analysis[f"majority_{FIRST}"]), folder / "progress.png")
    return analysis


def markdown(analysis: Mapping[str, Any]) -> str:
    """The short brief for people."""
    counts, best = analysis["counts"], analysis["current_best"]
    lines = [
        "# Summary",
        "",
        f"{counts['experiments']} experiments: {counts['keep']} kept, {counts['discard']} "
        f"discarded, {counts['crash']} crashed.",
        "",
    ]
    if analysis.get("recommended"):
        found = analysis["recommended"]
        lines += [f"**Recommended: {found['words']}.**", "", f"That is {found['method']}.", ""]
    if best:
        lines.append(
            f"Current best: `{best['commit']}` {FIRST} {best[FIRST]:.6f}, {SECOND} {best[SECOND]:.6f}, "
            f"{best['memory_gb']:.1f} GB: {best['description']}"
        )
        lines += [f"What is known of it: {believed(best)}."] if believed(best) else []
    base = analysis["baseline"]
    if best and base:
        gain = best[FIRST] - base[FIRST]
        side = best[SECOND] - base[SECOND]
        lines.append(f"Against the baseline: {FIRST} {gain:+.6f}, {SECOND} {side:+.6f}.")
    if analysis[f"majority_{FIRST}"] is not None:
        lines.append(f"Always giving the majority's answer has {FIRST} {analysis[f'majority_{FIRST}']:.6f}.")
    noise = analysis[f"noise_{FIRST}"]
    if noise is not None:
        lines.append(f"Noise: the baseline's seeds spread by {noise:.6f} (standard deviation of {FIRST}).")
    if analysis.get("validation_photos"):
        lines.append(
            f"One of the {analysis['validation_photos']} validation {ITEMS} is worth "
            f"{analysis[f'one_photo_{FIRST}']:.6f} of {FIRST}."
        )
    opened = analysis.get("test_opened")
    if opened:
        lines.append(
            f"The test {ITEMS} were opened on {opened['opened']}: they prove nothing of what this search does since."
        )
    lines += ["", "## Frontier", ""]
    for step in analysis["frontier"]:
        gains = step[f"gain_{FIRST}"], step[f"gain_{SECOND}"]
        gain = "" if gains[0] is None else f" ({gains[0]:+.4f}, {gains[1]:+.4f})"
        lines.append(f"- `{step['commit']}` {step[FIRST]:.4f} / {step[SECOND]:.4f}{gain} {step['description']}")
        lines += [f"  {believed(step)}"] if believed(step) else []
    if any(step.get("probability_better") is not None for step in analysis["frontier"]):
        lines += ["", f"Probabilities: {METHOD}."]
    if analysis["fallen"]:
        lines += ["", "Kept once, and no longer:", ""]
        lines += [f"- `{row['commit']}` {row['description']}: {row['reason']}" for row in analysis["fallen"]]
    side_run = analysis[f"best_{SECOND}_side_run"]
    if side_run:
        lines += ["", f"Best {SECOND}: `{side_run['commit']}` {side_run[SECOND]:.4f} ({side_run['status']})"]
    lines += ["", "## Near misses", ""]
    lines += [
        f"- `{miss['commit']}` gap {miss[f'gap_{FIRST}']:.4f} / {miss[f'gap_{SECOND}']:+.4f} {miss['description']}"
        + (f" ({believed(miss)})" if believed(miss) else "")
        for miss in analysis["near_misses"]
    ] or ["none"]
    lines += ["", "## Losing regions", ""]
    lines += [
        f"- {region['axis']} {region['direction']}: {region['tries']} tries, none kept, "
        + ("all crashed" if region["best_gap"] is None else f"best gap {region['best_gap']:+.4f}")
        for region in analysis["losing_regions"]
    ] or ["none known"]
    better = analysis["discarded_though_better"]
    if better:
        lines += ["", "## Discarded with a higher score than the best of their time", ""]
        lines += [f"- `{row['commit']}` {row[FIRST]:.4f} / {row[SECOND]:.4f} {row['description']}" for row in better]
    notes = analysis["memory_notes"]
    if notes:
        lines += ["", f"## Far more memory than the best of their time ({len(notes)})", ""]
        lines += [f"- `{note['commit']}` {note['note']}: {note['description']}" for note in notes[:MOST_MEMORY_NOTES]]
    if analysis.get("proposals"):
        made = analysis["proposals"]
        lines += ["", f"## Proposals ({len(made)})", "", *proposal_lines(made[-MOST_PROPOSALS:])]
    if analysis.get("costs"):
        lines += ["", "## What it took", "", *cost_lines(analysis["costs"])]
    lines += ["", "## Next", ""]
    lines += [f"- {hint}" for hint in analysis["next_hints"]] or ["nothing stands out"]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Progress:
    """What the picture shows, by the experiments' places in the history.

    metric: its name. total: experiments. kept: (place, value, description), others: (place, value). level: a value to
    compare with, and its name.
    """

    metric: str
    total: int
    kept: Sequence[tuple[int, float, str]]
    others: Sequence[tuple[int, float]]
    crashed: Sequence[int]
    level: tuple[float, str] | None = None


def progress_of(entries: Sequence[Entry], majority: float | None) -> Progress:
    """What the picture shows. majority: the primary metric of always giving the majority's answer, if it is known."""
    history = list(enumerate(steps(entries)))
    measured = [(n, step) for n, step in history if step.row.status is not Status.CRASH]
    return Progress(
        FIRST,
        len(entries),
        kept=[(n, step.row.primary, step.row.description) for n, step in history if step.is_incumbent],
        others=[(n, step.row.primary) for n, step in measured if not step.is_incumbent],
        crashed=[n for n, step in history if step.row.status is Status.CRASH],
        level=None if majority is None else (majority, "always the majority's answer"),
    )


def draw_progress(shown: Progress, path: Path) -> None:
    """All experiments, the running best, and the kept ones, numbered, with their descriptions beside the plot."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 5.5), layout="constrained")
    axes, beside = figure.subplots(1, 2, width_ratios=(3, 1))
    if shown.others:
        places, values = np.array(shown.others).T
        points = axes.scatter(places, values, s=18, color="0.65", label="discarded")
        points.set_in_layout(False)  # they lie within the axes, and measuring 100,000 of them takes half a second
    if shown.kept:
        numbers, best = [n for n, _, _ in shown.kept], [value for _, value, _ in shown.kept]
        axes.step([*numbers, shown.total - 1], [*best, best[-1]], where="post", color="tab:green", label="running best")
        axes.scatter(numbers, best, s=36, color="tab:green", zorder=3, label="kept")
        for label, n, y in list(zip(range(len(best)), numbers, best, strict=True))[-MOST_NUMBERS:]:
            axes.annotate(str(label), (n, y), xytext=(0, 6), textcoords="offset points", ha="center", fontsize=8)
    if shown.level is not None:
        value, name = shown.level
        axes.axhline(value, linestyle="--", linewidth=1, color="0.4", label=name)
    if shown.crashed:
        # At the foot of the plot: a crash has no score.
        foot, places = np.full(len(shown.crashed), 0.02), np.array(shown.crashed)
        axes.scatter(places, foot, transform=axes.get_xaxis_transform(), marker="x", color="tab:red", label="crashed")
    axes.margins(y=0.1)
    axes.grid(axis="y", alpha=0.3)
    axes.set(xlabel="experiment", ylabel=shown.metric, title=f"{shown.total} experiments, {len(shown.kept)} kept")
    figure.legend(loc="outside lower left", ncols=5, fontsize=8, frameon=False)
    beside.axis("off")
    beside.text(0, 1, labels_of_kept(shown.kept), va="top", fontsize=8, linespacing=1.5)
    write_aside(path, lambda stream: figure.savefig(stream, dpi=110, format="png"))


def labels_of_kept(kept: Sequence[tuple[int, float, str]]) -> str:
    """One line or two for each kept row, by its number in the plot; if there are many, the latest."""
    lines = [] if len(kept) <= MOST_LABELS else [f"… {len(kept) - MOST_LABELS} more before these"]
    for number, (_, value, description) in list(enumerate(kept))[-MOST_LABELS:]:
        text = textwrap.shorten(description, 2 * LABEL_WIDTH, placeholder=" …")
        lines += textwrap.wrap(f"{number}  {value:.4f}  {text}", LABEL_WIDTH, subsequent_indent="      ")
    return "\n".join(lines).replace("$", "\\$")  # which would begin a formula
