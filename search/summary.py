"""Writes what frontier.py finds: analysis_summary.json, analysis_summary.md and progress.png."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from search.frontier import analyse, noise_of, steps
from search.ledger import Row, decision_times, merge, read_lines, write_in_place
from search.recipe import RecipeError, values_of
from search.types import Change, SearchError, Status
from search.worktree import SHORT, Repository


class History:
    """What is known of rows beyond their six columns: decisions beside the files, commits in a repository."""

    def __init__(self, repository: Repository | None) -> None:
        self.repository = repository
        self._times: dict[Path, dict[tuple[str, str], float]] = {}
        self._changes: dict[str, tuple[Change, ...] | None] = {}

    def time_of(self, row: Row, path: Path) -> float | None:
        """When a row was decided, where the search recorded it; else its commit's time; else None."""
        if path not in self._times:
            self._times[path] = decision_times(path)
        known = self._times[path].get((row.commit, row.description))
        if known is not None or self.repository is None or not row.commit.isalnum():
            return known
        try:
            return float(self.repository.run("show", "--no-patch", "--format=%ct", f"{row.commit}^{{commit}}"))
        except (SearchError, ValueError):
            return None

    def changes_of(self, rows: Sequence[Row], paths: Sequence[Path]) -> dict[str, Sequence[Change]]:
        """commit -> what it changed in the recipe: from the decisions beside the files, else from git."""
        for folder in {folder for path in paths for folder in (path.parent, path.parent.parent)}:
            for record in read_lines(folder / "decisions.jsonl"):
                if isinstance(record.get("commit"), str) and isinstance(record.get("changes"), list):
                    self._changes[record["commit"][:SHORT]] = tuple(Change(**change) for change in record["changes"])
        for row in rows:
            if row.commit not in self._changes:
                self._changes[row.commit] = self._from_git(row.commit)
        return {commit: found for commit, found in self._changes.items() if found}

    def _from_git(self, commit: str) -> tuple[Change, ...] | None:
        if self.repository is None or not commit.isalnum():
            return None
        try:
            new = values_of(self.repository.file_at(commit, "train.py"))
            old = values_of(self.repository.file_at(f"{commit}^", "train.py"))
        except (SearchError, RecipeError):
            return None
        return tuple(
            Change(axis, old[axis], value) for axis, value in new.items() if axis in old and old[axis] != value
        )


def summarise(paths: Sequence[Path], folder: Path, history: History, majority: float | None = None) -> dict[str, Any]:
    """Merges the files and writes the derived ones into the folder; the JSON's content.

    Raises LedgerError where the files cannot be merged.
    """
    rows = [placed.row for placed in merge(paths, history.time_of)]
    analysis = analyse(rows, history.changes_of(rows, paths), baseline_noise(paths), majority)
    write_in_place(folder / "analysis_summary.json", json.dumps(analysis, indent=2) + "\n")
    write_in_place(folder / "analysis_summary.md", markdown(analysis))
    draw_progress(rows, folder / "progress.png")
    return analysis


def baseline_noise(paths: Sequence[Path]) -> float | None:
    """The spread of bin_acc over the baseline's seeds, where the trials beside the files tell it."""
    for folder in dict.fromkeys(folder for path in paths for folder in (path.parent, path.parent.parent)):
        scores = [
            record["score"]["bin_acc"]
            for record in read_lines(folder / "trials.jsonl")
            if record.get("experiment") == 0 and record.get("score")
        ]
        if scores:
            return noise_of(scores)
    return None


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
        f"- {region['axis']} {region['direction']}: {region['tries']} tries, none kept, best gap "
        f"{region['best_gap']:+.4f}"
        for region in analysis["losing_regions"]
    ] or ["none known"]
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
    axes.legend(loc="lower right", fontsize=8)
    aside = path.with_name("progress.partial.png")
    figure.savefig(aside, dpi=110)
    os.replace(aside, path)
