"""Writes what frontier.py finds: analysis_summary.json, analysis_summary.md and progress.png."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from search.core.task import Task
from search.core.types import Status
from search.records.results_tsv import Row
from search.report.costs import cost_lines, costs_of
from search.report.evidence import METHOD, believed
from search.report.frontier import Entry, analyse, is_stopped, steps
from search.report.history import History
from search.report.proposals import proposal_lines, proposals_of
from search.system.files import write_aside, write_text

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
    task = history.task
    analysis = analyse(entries, task, history.facts)
    records = history.records
    analysis["costs"] = costs_of(records) if records else None
    analysis["proposals"] = proposals_of(records) if records else []
    write_text(folder / "analysis_summary.json", json.dumps(analysis, indent=2) + "\n")
    write_text(folder / "analysis_summary.md", markdown(analysis, task))
    draw_progress(progress_of(entries, task, analysis[f"majority_{task.metric.name}"]), folder / "progress.png")
    return analysis


def markdown(analysis: Mapping[str, Any], task: Task) -> str:
    """The short brief for people."""
    counts, best = analysis["counts"], analysis["current_best"]
    first, second = task.metric, task.tie_breaker

    def scores(row: Mapping[str, Any]) -> str:
        return " / ".join(f"{row[metric.name]:.{metric.shown_digits}f}" for metric in task.metrics)

    def whole(row: Mapping[str, Any]) -> str:
        return ", ".join(f"{metric.name} {row[metric.name]:.{metric.digits}f}" for metric in task.metrics)

    stopped = analysis.get("stopped_early")
    early = f" ({stopped} of them stopped early)" if stopped else ""
    lines = [
        "# Summary",
        "",
        f"{counts['experiments']} experiments: {counts['keep']} kept, {counts['discard']} "
        f"discarded{early}, {counts['crash']} crashed.",
        "",
    ]
    if analysis.get("recommended"):
        found = analysis["recommended"]
        lines += [f"**Recommended: {found['words']}.**", "", f"That is {found['method']}.", ""]
    if best:
        lines.append(
            f"Current best: `{best['commit']}` {whole(best)}{task.by_own_word}, {best['memory_gb']:.1f} GB: "
            f"{best['description']}"
        )
        lines += [f"What is known of it: {believed(best, task)}."] if believed(best, task) else []
    base = analysis["baseline"]
    if best and base:
        gains = (f"{one.name} {best[one.name] - base[one.name]:+.{one.digits}f}" for one in task.metrics)
        lines.append(f"Against the baseline: {', '.join(gains)}.")
    if analysis[f"majority_{first.name}"] is not None:
        majority = analysis[f"majority_{first.name}"]
        lines.append(f"Always giving the majority's answer has {first.name} {majority:.{first.digits}f}.")
    noise = analysis[f"noise_{first.name}"]
    if noise is not None:
        lines.append(
            f"Noise: the baseline's seeds spread by {noise:.{first.digits}f} (standard deviation of {first.name})."
        )
    if analysis.get(f"validation_{task.items}"):
        lines.append(
            f"One of the {analysis[f'validation_{task.items}']} validation {task.items} is worth "
            f"{analysis[f'one_{task.item}_{first.name}']:.6f} of {first.name}."
        )
    opened = analysis.get("test_opened")
    if opened:
        lines.append(
            f"The test {task.items} were opened on {opened['opened']}: they prove nothing of what this search does "
            "since."
        )
    lines += ["", "## Frontier", ""]
    for step in analysis["frontier"]:
        steps_up = [(metric, step[f"gain_{metric.name}"]) for metric in task.metrics]
        told = ", ".join(metric.gain(value) for metric, value in steps_up if value is not None)
        lines.append(f"- `{step['commit']}` {scores(step)}{f' ({told})' if told else ''} {step['description']}")
        lines += [f"  {believed(step, task)}"] if believed(step, task) else []
    if any(step.get("probability_better") is not None for step in analysis["frontier"]):
        lines += ["", f"Probabilities: {METHOD}."]
    if analysis["fallen"]:
        lines += ["", "Kept once, and no longer:", ""]
        lines += [f"- `{row['commit']}` {row['description']}: {row['reason']}" for row in analysis["fallen"]]
    side_run = analysis[f"best_{second.name}_side_run"] if second else None
    if second and side_run:
        side = f"{side_run[second.name]:.{second.shown_digits}f}"
        lines += ["", f"Best {second.name}: `{side_run['commit']}` {side} ({side_run['status']})"]
    lines += ["", "## Near misses", ""]
    lines += [
        f"- `{miss['commit']}` gap {gaps_of(miss, task)} {miss['description']}"
        + (f" ({believed(miss, task)})" if believed(miss, task) else "")
        for miss in analysis["near_misses"]
    ] or ["none"]
    lines += ["", "## Losing regions", ""]
    lines += [
        f"- {region['axis']} {region['direction']}: {region['tries']} tries, none kept, "
        + ("all crashed" if region["best_gap"] is None else f"best gap {first.gain(region['best_gap'])}")
        for region in analysis["losing_regions"]
    ] or ["none known"]
    better = analysis["discarded_though_better"]
    if better:
        lines += ["", "## Discarded with a better score than the best of their time", ""]
        lines += [f"- `{row['commit']}` {scores(row)} {row['description']}" for row in better]
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


def gaps_of(miss: Mapping[str, Any], task: Task) -> str:
    """How far a near miss is below the best, without a sign; in what breaks ties with one, since it may be above."""
    gap = f"{miss[f'gap_{task.metric.name}']:.{task.metric.shown_digits}f}"
    side = task.tie_breaker
    return f"{gap} / {miss[f'gap_{side.name}']:+.{side.shown_digits}f}" if side else gap


@dataclass(frozen=True)
class Progress:
    """What the picture shows, by the experiments' places in the history.

    metric: its name. digits: its decimals. total: experiments. kept: (place, value, description), others: (place,
    value). level: a value to compare with, and its name. stopped: early, so that they have no value.
    """

    metric: str
    digits: int
    total: int
    kept: Sequence[tuple[int, float, str]]
    others: Sequence[tuple[int, float]]
    crashed: Sequence[int]
    level: tuple[float, str] | None = None
    stopped: Sequence[int] = ()


def progress_of(entries: Sequence[Entry], task: Task, majority: float | None) -> Progress:
    """What the picture shows. majority: the primary metric of always giving the majority's answer, if it is known."""
    metric = task.metric
    history = list(enumerate(steps(entries)))
    measured = [(n, step) for n, step in history if step.row.is_measured]
    return Progress(
        metric.name + task.by_own_word,
        metric.shown_digits,
        len(entries),
        kept=[(n, metric.told(step.row.primary), step.row.description) for n, step in history if step.is_incumbent],
        others=[(n, metric.told(step.row.primary)) for n, step in measured if not step.is_incumbent],
        crashed=[n for n, step in history if step.row.status is Status.CRASH],
        level=None if majority is None else (majority, "always the majority's answer"),
        stopped=[n for n, step in history if is_stopped(step.row)],
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
    # At the foot of the plot: these have no score.
    for some, marker, color, name in (
        (shown.crashed, "x", "tab:red", "crashed"), (shown.stopped, "|", "0.5", "stopped early")
    ):  # fmt: skip
        if some:
            foot, places = np.full(len(some), 0.02), np.array(some)
            axes.scatter(places, foot, transform=axes.get_xaxis_transform(), marker=marker, color=color, label=name)
    axes.margins(y=0.1)
    axes.grid(axis="y", alpha=0.3)
    axes.set(xlabel="experiment", ylabel=shown.metric, title=f"{shown.total} experiments, {len(shown.kept)} kept")
    figure.legend(loc="outside lower left", ncols=5, fontsize=8, frameon=False)
    beside.axis("off")
    beside.text(0, 1, labels_of_kept(shown.kept, shown.digits), va="top", fontsize=8, linespacing=1.5)
    write_aside(path, lambda stream: figure.savefig(stream, dpi=110, format="png"))


def labels_of_kept(kept: Sequence[tuple[int, float, str]], digits: int) -> str:
    """One line or two for each kept row, by its number in the plot; if there are many, the latest."""
    lines = [] if len(kept) <= MOST_LABELS else [f"… {len(kept) - MOST_LABELS} more before these"]
    for number, (_, value, description) in list(enumerate(kept))[-MOST_LABELS:]:
        text = textwrap.shorten(description, 2 * LABEL_WIDTH, placeholder=" …")
        lines += textwrap.wrap(f"{number}  {value:.{digits}f}  {text}", LABEL_WIDTH, subsequent_indent="      ")
    return "\n".join(lines).replace("$", "\\$")  # which would begin a formula
