"""Writes what frontier.py finds: analysis_summary.json, analysis_summary.md and progress.png."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from search.frontier import analyse, noise_of, steps
from search.history import History
from search.ledger import Row, merge, write_in_place
from search.types import Status

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
    write_in_place(folder / "analysis_summary.json", json.dumps(analysis, indent=2) + "\n")
    write_in_place(folder / "analysis_summary.md", markdown(analysis))
    draw_progress(rows, folder / "progress.png")
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
    lines += ["", "## Frontier", ""]
    for step in analysis["frontier"]:
        gain = "" if step["gain_bin_acc"] is None else f" ({step['gain_bin_acc']:+.4f}, {step['gain_mc_acc']:+.4f})"
        lines.append(f"- `{step['commit']}` {step['bin_acc']:.4f} / {step['mc_acc']:.4f}{gain} {step['description']}")
    side_run = analysis["best_mc_acc_side_run"]
    if side_run:
        lines += ["", f"Best mc_acc: `{side_run['commit']}` {side_run['mc_acc']:.4f} ({side_run['status']})"]
    lines += ["", "## Near misses", ""]
    lines += [
        f"- `{miss['commit']}` gap {miss['gap_bin_acc']:.4f} / {miss['gap_mc_acc']:+.4f} {miss['description']}"
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
        lines += ["", "## Discarded, though better than the best kept by then", ""]
        lines += [
            f"- `{row['commit']}` {row['bin_acc']:.4f} / {row['mc_acc']:.4f} {row['description']}" for row in better
        ]
    notes = analysis["memory_notes"]
    if notes:
        lines += ["", f"## Far more memory than the best of their time ({len(notes)})", ""]
        lines += [f"- `{note['commit']}` {note['note']}: {note['description']}" for note in notes[:MOST_MEMORY_NOTES]]
    lines += ["", "## Next", ""]
    lines += [f"- {hint}" for hint in analysis["next_hints"]] or ["nothing stands out"]
    return "\n".join(lines) + "\n"


def draw_progress(rows: Sequence[Row], path: Path) -> None:
    """All experiments, the kept ones labelled, the running best."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5.5), layout="constrained")
    axes = figure.subplots()
    history = list(enumerate(steps(rows)))
    measured = [
        (n, step.row.bin_acc) for n, step in history if step.row.status is not Status.CRASH and not step.is_incumbent
    ]
    crashed = [n for n, step in history if step.row.status is Status.CRASH]
    kept = [(n, step.row) for n, step in history if step.is_incumbent]
    if measured:
        axes.scatter([n for n, _ in measured], [y for _, y in measured], s=18, color="0.65", label="discarded")
    if kept:
        numbers = [n for n, _ in kept]
        best = [row.bin_acc for _, row in kept]
        axes.step([*numbers, len(rows) - 1], [*best, best[-1]], where="post", color="tab:green", label="running best")
        axes.scatter(numbers, best, s=36, color="tab:green", zorder=3, label="kept")
        for n, row in kept:
            axes.annotate(
                row.description[:40],
                (n, row.bin_acc),
                xytext=(4, 6),
                textcoords="offset points",
                fontsize=7,
                rotation=20,
            )
    if crashed:
        axes.scatter(
            crashed,
            [0.02] * len(crashed),
            transform=axes.get_xaxis_transform(),
            marker="x",
            color="tab:red",
            label="crashed",
        )
    axes.set(xlabel="experiment", ylabel="bin_acc", title=f"{len(rows)} experiments, {len(kept)} kept")
    axes.margins(x=0.06, y=0.12)  # room for the labels
    figure.legend(loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    aside = path.with_name("progress.partial.png")
    figure.savefig(aside, dpi=110)
    os.replace(aside, path)
