"""What the first page shows: the recommendation, progress, what the slots do, what it took, what comes next."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from search.core.task import Task
from search.core.types import Decision, Outcome, Status, short
from search.report.costs import KINDS, costs_of, total_of
from search.report.snapshot import duration
from search.web.pages import charts
from search.web.pages.charts import Point, Span
from search.web.pages.source import PageSource

Z = 1.959964  # of a 95 % interval
LANE_TRIALS = 24  # of a slot, the latest: what its lane of time shows
MOST_LANES = 64


def overview(source: PageSource) -> dict[str, Any]:
    """Everything of the page, as values for its template."""
    status = source.status()
    task, view = source.task, source.view
    best = source.records.frontier[-1] if source.records.frontier else None
    return {
        "recommended": view.get("recommended") or source.summary.get("recommended"),
        "best": best and best_shown(source, best),
        "figures": figures(source, status),
        "progress": source.once(progress_of),
        "rates": source.once(rates_of),
        "lanes": lanes_of(source, status["slots"]),
        "slots": [slot_shown(source, slot) for slot in status["slots"]],
        "hints": source.summary.get("next_hints") or [],
        "costs": costs_shown(source),
        "coming": (view.get("coming") or []) if source.running else [],
        "verdicts": {name: source.summary.get("counts", {}).get(name, 0) for name in map(str, Status)},
        "notes_of_search": view.get("notes") or [],
        "probability_method": source.summary.get("probability_method"),
        "trust": task.by_own_word.strip(" ()"),
    }


def progress_of(source: PageSource) -> Any:
    """A chart of every experiment; None before the first."""
    points, name = source.once(points_of), source.task.metric.name
    if not points:
        return None
    return charts.for_both(lambda frame: charts.progress(points, name, level_of(source), band_of(source), frame))


def points_of(source: PageSource) -> list[Point]:
    """Each experiment's value, in the task's own terms, in order of decision."""
    records, metric = source.records, source.task.metric
    latest = {one.experiment: one for one in records.decisions}
    frontier = {one.experiment for one in records.frontier}
    found = []
    for place, (number, decision) in enumerate(latest.items()):
        low = high = None
        value = metric.told(decision.score.primary) if decision.score else None
        if number in frontier:
            scores = [metric.turned(score) for score in records.scores_of(number)]
            value = fmean(scores) if scores else value
            if len(scores) > 1:
                half = Z * stdev(scores) / math.sqrt(len(scores))
                low, high = fmean(scores) - half, fmean(scores) + half
        found.append(Point(place, number, value, status_of(decision, number in frontier), low, high))
    return found


def status_of(decision: Decision, is_kept: bool = True) -> str:
    """keep, discard, crash, or stopped: without a score, and no crash. is_kept: whether it is an incumbent still."""
    if decision.status is Status.KEEP:
        return "keep" if is_kept else "discard"
    if decision.score is None and decision.status is not Status.CRASH:
        return "stopped"
    return str(decision.status)


def level_of(source: PageSource) -> tuple[float, str] | None:
    majority = source.summary.get(f"majority_{source.task.metric.name}")
    return None if majority is None else (majority, "always the majority's answer")


def band_of(source: PageSource) -> tuple[float, float, str] | None:
    """The baseline's score, as far as its own seeds spread."""
    metric = source.task.metric
    noise, scores = source.summary.get(f"noise_{metric.name}"), source.records.scores_of(0)
    if noise is None or not scores:
        return None
    middle = metric.turned(fmean(scores))
    return middle - noise, middle + noise, f"the baseline's seeds spread by ±{noise:.{metric.shown_digits}f}"


def rates_of(source: PageSource) -> Any:
    """A chart of the rates that stand beside the metric; None if there are none."""
    names, count = source.task.shown_rates, len(source.once(points_of))
    places = {
        number: place for place, number in enumerate(dict.fromkeys(d.experiment for d in source.records.decisions))
    }
    series = {
        name: [
            (places[one.experiment], float(one.metrics[name]))
            for one in source.records.frontier
            if one.metrics.get(name) is not None
        ]
        for name in names
    }
    return charts.for_both(lambda frame: charts.rates(series, count, frame)) if any(series.values()) else None


@dataclass(frozen=True)
class Figure:
    """One number at the top, with what it is. more: about it."""

    name: str
    value: str
    unit: str = ""
    more: str = ""


def figures(source: PageSource, status: dict[str, Any]) -> list[Figure]:
    """The numbers at the top."""
    view, costs = source.view, source.once(costs_by_kind)
    known = view.get("counts") or source.summary.get("counts", {})
    counts = {**dict.fromkeys(("experiments", *map(str, Status)), 0), **known}
    hours = sum(costs[kind]["gpu_hours"] for kind in KINDS)
    energy = total_of(costs[kind]["energy_kwh"] for kind in KINDS)
    dollars = total_of([*(costs[kind]["gpu_dollars"] for kind in KINDS), costs["agent"].get("model_dollars")])
    kinds = f"{counts['keep']} kept, {counts['discard']} discarded, {counts['crash']} crashed"
    share = f"{view.get('share_of_time_training', 0):.0%}"
    found = [
        Figure("experiments", str(counts["experiments"]), "", kinds),
        Figure("rate", f"{view.get('experiments_per_hour', 0):.0f}", "/h", "experiments per hour"),
        Figure("busy", share.removesuffix("%"), "%", "of the slots' time went to training"),
        Figure("GPU time", f"{hours:.2f}" if hours < 10 else f"{hours:.0f}", "h", took_text(energy, dollars)),
    ]
    if status["seconds_left"] is not None:
        found.append(Figure("time left", duration(status["seconds_left"]), "", "about, at the present rate"))
    return found


def took_text(energy: float | None, dollars: float | None) -> str:
    words = [f"{energy:.2f} kWh"] if energy is not None else []
    words += [f"${dollars:.2f}"] if dollars else []  # what nobody has priced is not free
    return ", ".join(words)


def best_shown(source: PageSource, decision: Decision) -> dict[str, Any]:
    """The incumbent for people."""
    task = source.task
    scores = source.records.scores_of(decision.experiment)
    return {
        "number": decision.experiment,
        "commit": short(decision.commit),
        "description": decision.description,
        "score": task.shown(decision.score) if decision.score else "",
        "rates": task.rates_text(decision.metrics),
        "seeds": len(scores),
    }


def slot_shown(source: PageSource, slot: dict[str, Any]) -> dict[str, Any]:
    """A slot's row, with the losses of the trial that it runs."""
    trial = slot["trial"]
    curve = source.curve_of(slot["slot"], trial) if trial and slot["doing"] != "left" else ()
    used, budget = slot.get("training_seconds"), slot.get("budget_seconds")
    return {
        "why": "",
        **slot,
        "name": f"gpu{slot['slot']}",
        "where": " ".join(
            str(word) for word in (slot["node"], slot["gpu"] and f"GPU {slot['gpu']}", slot["model"]) if word
        ),
        "curve": charts.sparkline(curve, f"training loss of {trial}"),
        "share": None if used is None or not budget else min(round(100 * used / budget), 100),
        "experiment": experiment_of(trial),
    }


def experiment_of(trial: str | None) -> int | None:
    """The number of the experiment that a trial is of, by its name."""
    word = (trial or "").partition("-")[0].removeprefix("e")
    return int(word) if word.isdecimal() else None


def lanes_of(source: PageSource, slots: Sequence[dict[str, Any]]) -> Any:
    """The last trials of each slot as lanes of time; None before the first one has ended."""
    outcomes = source.records.outcomes
    if not outcomes:
        return None
    numbers = sorted({one.slot for one in outcomes} | {slot["slot"] for slot in slots})[:MOST_LANES]
    recent = outcomes[-LANE_TRIALS * len(numbers) :]
    end = time.time() if source.running else max(one.ended for one in outcomes)
    begin = min(one.began for one in recent)
    spans: dict[str, list[Span]] = {f"gpu{number}": [] for number in numbers}
    for outcome in recent:
        spans.get(f"gpu{outcome.slot}", []).extend(spans_of(outcome, source.task))
    for slot in slots:
        if slot["trial"] and f"gpu{slot['slot']}" in spans and slot["doing"] != "left":
            spans[f"gpu{slot['slot']}"] += running_spans(slot, end)
    return charts.for_both(lambda frame: charts.lanes(spans, begin, end, frame))


def spans_of(outcome: Outcome, task: Task) -> list[Span]:
    """The parts of a trial's time."""
    speed, words = (
        outcome.speed,
        f"{outcome.trial}: {task.shown(outcome.score) if outcome.score else outcome.reason[:80]}",
    )
    if outcome.crashed:
        return [Span(outcome.began, outcome.ended, "crash", words, outcome.experiment)]
    parts = [("start-up", speed.get("start_up_seconds")), ("training", speed.get("training_seconds"))]
    parts.append(("evaluation", speed.get("evaluation_seconds")))
    found, at = [], outcome.began
    for kind, seconds in parts:
        if seconds:
            found.append(
                Span(at, min(at + seconds, outcome.ended), kind, f"{words} ({kind} {seconds:g} s)", outcome.experiment)
            )
            at += seconds
    return found or [Span(outcome.began, outcome.ended, "training", words, outcome.experiment)]


def running_spans(slot: dict[str, Any], now: float) -> list[Span]:
    """Of the trial that a slot runs now."""
    trained = slot["training_seconds"]
    began = slot.get("began") or (now - (trained or 0.0))
    until = now - (slot["evaluating_seconds"] or 0.0)
    since = now if trained is None else until - trained
    parts = [
        ("start-up", "starting", began, since),
        ("training", "training", since, until),
        ("evaluation", "evaluating", until, now),
    ]
    return [Span(start, end, kind, f"{slot['trial']}: {words}") for kind, words, start, end in parts if end > start]


def costs_by_kind(source: PageSource) -> dict[str, dict[str, Any]]:
    return costs_of(source.records.costs)


def costs_shown(source: PageSource) -> list[dict[str, Any]]:
    """What each kind of work took, for a table."""
    costs = source.once(costs_by_kind)
    return [{"name": kind, **costs[kind]} for kind in KINDS if costs[kind]["trials"] or costs[kind].get("proposals")]
