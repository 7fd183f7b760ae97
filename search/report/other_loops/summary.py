"""What follows from the history of another loop: its frontier, and which of its steps look like luck. Pure but for
writing."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from scipy.stats import t

from search.core.types import Status
from search.report.other_loops.histories import Measured, Metric, OtherHistory, repeats
from search.report.summary import Progress, draw_progress
from search.system.files import write_text

CONFIDENCE = 0.95  # two-sided, of a gain against the noise of two runs
MOST_NEAR_MISSES = 8
SHORTEST = 60  # characters of a description in the brief, and up to twice as many


@dataclass(frozen=True)
class Step:
    """A row that was kept, beside the best that was kept before it. others: what measuring the same again gave."""

    place: int
    row: Measured
    value: float
    before: float | None
    others: tuple[float, ...]


@dataclass(frozen=True)
class Noise:
    """Of one run, by what was measured more than once: standard deviation, degrees of freedom, things measured."""

    deviation: float
    freedom: int
    groups: int

    @property
    def of_a_gain(self) -> float:
        """A gain between two runs that luck alone exceeds, either way, in one case of twenty."""
        return float(t.ppf(0.5 + CONFIDENCE / 2, self.freedom)) * self.deviation * math.sqrt(2)


def noise_of(rows: Sequence[Measured], metric: Metric) -> Noise | None:
    """None if nothing was measured twice."""
    groups = list(repeats(rows, metric.name))
    freedom = sum(len(values) - 1 for values in groups)
    if not freedom:
        return None
    squares = sum((value - fmean(values)) ** 2 for values in groups for value in values)
    return Noise(math.sqrt(squares / freedom), freedom, len(groups))


def steps_of(history: OtherHistory, metric: Metric) -> list[Step]:
    """The kept rows that have the metric; where nothing says what was kept, those that beat all before."""
    found: list[Step] = []
    same: dict[str, list[float]] = {}
    for row in history.rows:
        if row.repeat and metric.name in row.values:
            same.setdefault(row.repeat, []).append(row.values[metric.name])
    for place, row in enumerate(history.rows):
        value = row.values.get(metric.name)
        before = max((one.value for one in found), key=lambda known: metric.gain(known, 0.0), default=None)
        beats = value is not None and (before is None or metric.gain(value, before) > 0)
        is_kept = row.status is Status.KEEP if history.says_kept else beats
        if value is not None and is_kept:
            others = list(same.get(row.repeat, ()))
            if value in others:
                others.remove(value)
            found.append(Step(place, row, value, before, tuple(others)))
    return found


def doubt_about(step: Step, metric: Metric, noise: Noise | None) -> str:
    """Why a kept step that beats all before looks like luck; '' if it does not, or nothing tells."""
    if step.before is None or not is_better(step, metric):
        return ""
    gain = metric.gain(step.value, step.before)
    if step.others and metric.gain(fmean(step.others), step.before) <= 0:
        return f"measured again it had {fmean(step.others):.6g}, no better than the best before it"
    if noise is not None and gain < noise.of_a_gain:
        return f"its gain of {gain:.6g} is within the noise of two runs, {noise.of_a_gain:.6g}"
    return ""


def is_better(step: Step, metric: Metric) -> bool:
    return step.before is None or metric.gain(step.value, step.before) > 0


def analyse_other(history: OtherHistory, metric: Metric, steps: list[Step]) -> dict[str, Any]:
    """The content of analysis_summary.json for another loop's history; docs/summary.md documents it. steps: by
    steps_of."""
    noise = noise_of(history.rows, metric)
    kept = {step.place for step in steps}
    best = max(steps, key=lambda step: metric.gain(step.value, 0.0), default=None)
    counted = Counter(row.status for row in history.rows)
    others = Counter(row.word or "(none)" for row in history.rows if row.status is None)
    measured = [
        (row, row.values[metric.name])
        for n, row in enumerate(history.rows)
        if n not in kept and metric.name in row.values
    ]
    near = sorted(measured, key=lambda pair: -metric.gain(pair[1], 0.0))[:MOST_NEAR_MISSES] if best else []
    return {
        "kind": "another loop's history",
        "file": str(history.path),
        "metric": metric.name,
        "higher_is_better": metric.higher_is_better,
        "metric_known_by": metric.known_by,
        "counts": {"experiments": len(history.rows), **{str(status): counted[status] for status in Status}},
        "other_statuses": dict(others.most_common()),
        "baseline": shown(steps[0], metric, noise) if steps else None,
        "current_best": shown(best, metric, noise) if best else None,
        "noise": noise and {"deviation": noise.deviation, "freedom": noise.freedom, "measured_again": noise.groups},
        "frontier": [shown(step, metric, noise) for step in steps],
        "near_misses": [
            {**row_shown(row, value, metric), "gap": metric.gain(best.value, value)} for row, value in near if best
        ],
        "left_out": [{"line": line, "reason": reason} for line, reason in history.left_out],
        "notes": history.notes,
    }


def row_shown(row: Measured, value: float, metric: Metric) -> dict[str, Any]:
    return {
        "line": row.line,
        "commit": row.commit or row.label,
        metric.name: value,
        "memory_gb": row.memory_gb,
        "status": row.word,
        "description": row.description,
    }


def shown(step: Step, metric: Metric, noise: Noise | None) -> dict[str, Any]:
    gain = None if step.before is None else metric.gain(step.value, step.before)
    doubt = doubt_about(step, metric, noise)
    return {
        **row_shown(step.row, step.value, metric),
        "gain": gain,
        "measured_again": list(step.others),
        "is_better": is_better(step, metric),
        "looks_like_luck": bool(doubt) if step.before is not None and (noise or doubt) else None,
        "doubt": doubt,
    }


def summarise_other(history: OtherHistory, metric: Metric, folder: Path) -> dict[str, Any]:
    """Writes analysis_summary.json, analysis_summary.md and progress.png into the folder; the JSON's content."""
    steps = steps_of(history, metric)
    analysis = analyse_other(history, metric, steps)
    write_text(folder / "analysis_summary.json", json.dumps(analysis, indent=2) + "\n")
    write_text(folder / "analysis_summary.md", other_markdown(analysis))
    kept = {step.place for step in steps}
    picture = Progress(
        metric.name,
        4,
        len(history.rows),
        kept=[(step.place, step.value, step.row.description) for step in steps],
        others=[
            (n, row.values[metric.name])
            for n, row in enumerate(history.rows)
            if n not in kept and metric.name in row.values
        ],
        crashed=[n for n, row in enumerate(history.rows) if row.status is Status.CRASH],
    )
    draw_progress(picture, folder / "progress.png")
    return analysis


def cut(text: str) -> str:
    return text if len(text) <= 2 * SHORTEST else text[: 2 * SHORTEST - 2].rstrip() + " …"


def other_markdown(analysis: dict[str, Any]) -> str:
    """The short brief for people."""
    counts, name, others = analysis["counts"], analysis["metric"], analysis["other_statuses"]
    lines = ["# Summary", "", f"{counts['experiments']} rows: {counts['keep']} kept, {counts['discard']} discarded, "
             f"{counts['crash']} crashed."]  # fmt: skip
    if others:
        lines[-1] += " Of other kinds: " + ", ".join(f"{count} {word}" for word, count in others.items()) + "."
    lines += ["", f"The metric is {name}: {analysis['metric_known_by']}."]
    lines += [f"Taken so: {note}." for note in analysis["notes"]]
    if analysis["left_out"]:
        first = analysis["left_out"][0]
        lines.append(
            f"{len(analysis['left_out'])} lines are no rows, the first line {first['line']}: {first['reason']}."
        )
    best, noise = analysis["current_best"], analysis["noise"]
    if best:
        lines += ["", f"Best kept: `{best['commit']}` {name} {best[name]:.6g}: {cut(best['description'])}"]
    if noise:
        lines.append(
            f"Noise of one run: {noise['deviation']:.3g} (standard deviation; {noise['measured_again']} things were "
            "measured more than once)."
        )
    else:
        lines.append("Nothing was measured twice: this file cannot tell luck from progress.")
    doubted = [step for step in analysis["frontier"] if step["doubt"]]
    better = [step for step in analysis["frontier"] if step["is_better"]]
    title = f"## Kept ({len(analysis['frontier'])}: {len(better)} better than all before"
    lines += ["", title + (f", {len(doubted)} of them perhaps by luck)" if noise or doubted else ")"), ""]
    lines += ["Those that are no better than one that was kept before are left out here.", ""]
    for step in better:
        gain = "" if step["gain"] is None else f" ({step['gain']:+.4g})"
        lines.append(f"- `{step['commit']}` {step[name]:.6g}{gain} {cut(step['description'])}")
        lines += [f"  perhaps luck: {step['doubt']}"] if step["doubt"] else []
    lines += ["", "## Near misses", ""]
    lines += [
        f"- `{row['commit']}` {row[name]:.6g}, {row['gap']:+.4g} short: {cut(row['description'])}"
        for row in analysis["near_misses"]
    ] or ["none"]
    return "\n".join(lines) + "\n"
