"""Writes what frontier.py finds: analysis_summary.json, analysis_summary.md and progress.png."""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from search.core.types import Status
from search.records.results_tsv import Row, merge, write_in_place
from search.report.costs import cost_lines, costs_of, proposal_lines, proposals_of
from search.report.evidence import METHOD, add_evidence, believed
from search.report.frontier import analyse, noise_of, steps
from search.report.history import History

LABEL_WIDTH = 44  # characters
MOST_LABELS = 14
MOST_PROPOSALS = 30  # in the brief; the JSON has them all
MOST_MEMORY_NOTES = 5  # in the brief; the JSON has them all


def merged_rows(paths: Sequence[Path], history: History) -> list[Row]:
    """The rows of these results.tsv files as one history. Raises LedgerError where they cannot be merged."""
    history.load(paths)
    return [placed.row for placed in merge(paths, history.time_of)]


def summarise(paths: Sequence[Path], folder: Path, history: History) -> dict[str, Any]:
    """Merges the files and writes the derived ones into the folder; the JSON's content.

    Raises LedgerError where the files cannot be merged.
    """
    rows = merged_rows(paths, history)
    noise = noise_of(history.baseline_bin_accs)
    analysis = analyse(rows, history.changes_of(rows), noise, history.majority_bin_acc)
    analysis = add_evidence(analysis, history.evidence, history.photos, history.audit)
    records = history.records[0] if len(history.records) == 1 else None
    analysis["costs"] = costs_of(records) if records else None
    analysis["proposals"] = proposals_of(records) if records else []
    write_in_place(folder / "analysis_summary.json", json.dumps(analysis, indent=2) + "\n")
    write_in_place(folder / "analysis_summary.md", markdown(analysis))
    draw_progress(rows, analysis["majority_bin_acc"], folder / "progress.png")
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
    if best:
        lines.append(
            f"Current best: `{best['commit']}` bin_acc {best['bin_acc']:.6f}, mc_acc {best['mc_acc']:.6f}, "
            f"{best['memory_gb']:.1f} GB: {best['description']}"
        )
        lines += [f"What is known of it: {believed(best)}."] if believed(best) else []
    base = analysis["baseline"]
    if best and base:
        gain = best["bin_acc"] - base["bin_acc"]
        side = best["mc_acc"] - base["mc_acc"]
        lines.append(f"Against the baseline: bin_acc {gain:+.6f}, mc_acc {side:+.6f}.")
    if analysis["majority_bin_acc"] is not None:
        lines.append(f"Always giving the majority's answer has bin_acc {analysis['majority_bin_acc']:.6f}.")
    if analysis["noise_bin_acc"] is not None:
        lines.append(
            f"Noise: the baseline's seeds spread by {analysis['noise_bin_acc']:.6f} (standard deviation of bin_acc)."
        )
    if analysis.get("validation_photos"):
        lines.append(
            f"One of the {analysis['validation_photos']} validation photos is worth "
            f"{analysis['one_photo_bin_acc']:.6f} of bin_acc."
        )
    opened = analysis.get("test_opened")
    if opened:
        lines.append(
            f"The test photos were opened on {opened['opened']}: they prove nothing of what this search does since."
        )
    lines += ["", "## Frontier", ""]
    for step in analysis["frontier"]:
        gain = "" if step["gain_bin_acc"] is None else f" ({step['gain_bin_acc']:+.4f}, {step['gain_mc_acc']:+.4f})"
        lines.append(f"- `{step['commit']}` {step['bin_acc']:.4f} / {step['mc_acc']:.4f}{gain} {step['description']}")
        lines += [f"  {believed(step)}"] if believed(step) else []
    if any(step.get("probability_better") is not None for step in analysis["frontier"]):
        lines += ["", f"Probabilities: {METHOD}."]
    side_run = analysis["best_mc_acc_side_run"]
    if side_run:
        lines += ["", f"Best mc_acc: `{side_run['commit']}` {side_run['mc_acc']:.4f} ({side_run['status']})"]
    lines += ["", "## Near misses", ""]
    lines += [
        f"- `{miss['commit']}` gap {miss['gap_bin_acc']:.4f} / {miss['gap_mc_acc']:+.4f} {miss['description']}"
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
        lines += [
            f"- `{row['commit']}` {row['bin_acc']:.4f} / {row['mc_acc']:.4f} {row['description']}" for row in better
        ]
    notes = analysis["memory_notes"]
    if notes:
        lines += ["", f"## Far more memory than the best of their time ({len(notes)})", ""]
        lines += [f"- `{note['commit']}` {note['note']}: {note['description']}" for note in notes[:MOST_MEMORY_NOTES]]
    if analysis.get("proposals"):
        told = analysis["proposals"]
        lines += ["", f"## Proposals ({len(told)})", "", *proposal_lines(told[-MOST_PROPOSALS:])]
    if analysis.get("costs"):
        lines += ["", "## What it took", "", *cost_lines(analysis["costs"])]
    lines += ["", "## Next", ""]
    lines += [f"- {hint}" for hint in analysis["next_hints"]] or ["nothing stands out"]
    return "\n".join(lines) + "\n"


def draw_progress(rows: Sequence[Row], majority: float | None, path: Path) -> None:
    """All experiments, the running best, and the kept ones, numbered, with their descriptions beside the plot.

    majority: bin_acc of always giving the majority's answer, where it is known.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 5.5), layout="constrained")
    axes, beside = figure.subplots(1, 2, width_ratios=(3, 1))
    history = list(enumerate(steps(rows)))
    kept = [(n, step.row) for n, step in history if step.is_incumbent]
    crashed = [n for n, step in history if step.row.status is Status.CRASH]
    others = [(n, step.row.bin_acc) for n, step in history if n not in crashed and not step.is_incumbent]
    if others:
        axes.scatter(*zip(*others, strict=True), s=18, color="0.65", label="discarded")
    if kept:
        numbers, best = [n for n, _ in kept], [row.bin_acc for _, row in kept]
        axes.step([*numbers, len(rows) - 1], [*best, best[-1]], where="post", color="tab:green", label="running best")
        axes.scatter(numbers, best, s=36, color="tab:green", zorder=3, label="kept")
        for label, n, y in zip(range(len(kept)), numbers, best, strict=True):
            axes.annotate(str(label), (n, y), xytext=(0, 6), textcoords="offset points", ha="center", fontsize=8)
    if majority is not None:
        axes.axhline(majority, linestyle="--", linewidth=1, color="0.4", label="always the majority's answer")
    if crashed:
        # At the foot of the plot: a crash has no score.
        foot = [0.02] * len(crashed)
        axes.scatter(crashed, foot, transform=axes.get_xaxis_transform(), marker="x", color="tab:red", label="crashed")
    axes.margins(y=0.1)
    axes.grid(axis="y", alpha=0.3)
    axes.set(xlabel="experiment", ylabel="bin_acc", title=f"{len(rows)} experiments, {len(kept)} kept")
    figure.legend(loc="outside lower left", ncols=5, fontsize=8, frameon=False)
    beside.axis("off")
    beside.text(0, 1, labels_of_kept([row for _, row in kept]), va="top", fontsize=8, linespacing=1.5)
    aside = path.with_name("progress.partial.png")
    figure.savefig(aside, dpi=110)
    os.replace(aside, path)


def labels_of_kept(kept: Sequence[Row]) -> str:
    """One line or two for each kept row, by its number in the plot; where there are many, the latest."""
    lines = [] if len(kept) <= MOST_LABELS else [f"… {len(kept) - MOST_LABELS} more before these"]
    for number, row in list(enumerate(kept))[-MOST_LABELS:]:
        text = textwrap.shorten(row.description, 2 * LABEL_WIDTH, placeholder=" …")
        lines += textwrap.wrap(f"{number}  {row.bin_acc:.4f}  {text}", LABEL_WIDTH, subsequent_indent="      ")
    return "\n".join(lines).replace("$", "\\$")  # which would begin a formula
