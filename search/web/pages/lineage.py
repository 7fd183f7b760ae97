"""Which commit came from which, what became of every proposal, and where the search runs."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from typing import Any

from search.core.types import short
from search.report.costs import cost_lines, costs_of
from search.report.proposals import proposals_of
from search.web.pages.overview import status_of
from search.web.pages.source import PageSource

MOST_SHOWN = 12  # experiments of one parent, the best


def lineage(source: PageSource) -> dict[str, Any]:
    """The incumbents in order, each with what was begun from it; and those that fell."""
    records, task = source.records, source.task
    latest = {one.experiment: one for one in records.decisions}
    frontier = {one.experiment for one in records.frontier}
    kept = [one for one in latest.values() if one.experiment in frontier or records.fallen_of(one.experiment)]
    number_of = {one.commit: one.experiment for one in latest.values()}
    parent_of = {number_of[commit]: parent for commit, parent in source.parents.items() if commit in number_of}
    children: dict[str, list[Any]] = defaultdict(list)
    for one in latest.values():
        if one.experiment:
            children[parent_of.get(one.experiment, one.incumbent)].append(one)
    steps = []
    for one in kept:
        begun = children.get(one.commit, [])
        best = sorted(
            (child for child in begun if child.score), key=lambda child: -child.score.primary if child.score else 0.0
        )
        parent = parent_of.get(one.experiment) or (one.incumbent if one.experiment else "")
        gain = one.score.primary - one.incumbent_score.primary if one.score and one.incumbent_score else None
        steps.append(
            {
                "number": one.experiment,
                "commit": short(one.commit),
                "description": one.description,
                "score": task.shown(one.score) if one.score else "",
                "gain": "" if gain is None else task.metric.gain(gain),
                "parent": number_of.get(parent),
                "parent_commit": short(parent) if parent else "",
                "fallen": records.fallen_of(one.experiment),
                "counts": Counter(status_of(child, child.experiment in frontier) for child in begun),
                "begun": len(begun),
                "best": [
                    {
                        "number": child.experiment,
                        "status": status_of(child, child.experiment in frontier),
                        "score": task.metric.text(child.score.primary) if child.score else "",
                        "description": child.description,
                    }
                    for child in best[:MOST_SHOWN]
                ],
            }
        )
    return {"steps": steps[::-1], "has_git": source.repository is not None}


def proposals(source: PageSource) -> dict[str, Any]:
    """Every proposal with its fate, the newest first."""
    records = source.records
    experiment_of = {one.proposal: one.experiment for one in records.decisions if one.proposal is not None}
    made = [
        {
            **one,
            "experiment": experiment_of.get(one["number"]),
            "seconds": one["cost"]["seconds"],
            "dollars": one["cost"]["dollars"],
        }
        for one in proposals_of(records.costs)
    ]
    costs = costs_of(records.costs)
    return {
        "proposals": made[::-1],
        "counts": Counter(one["status"] for one in made),
        "took": [line.removeprefix("- ") for line in cost_lines(costs) if line.startswith("- agent")],
    }


def cluster(source: PageSource) -> dict[str, Any]:
    """The slots, their nodes and cards, and what was measured of each."""
    status, outcomes = source.status(), source.records.outcomes
    by_slot: dict[int, list[Any]] = defaultdict(list)
    for outcome in outcomes:
        by_slot[outcome.slot].append(outcome)
    places = {int(number): place for number, place in source.view.get("places", {}).items()}
    live = {slot["slot"]: slot for slot in status["slots"]}
    rows = []
    for number in sorted({*by_slot, *places, *live}):
        ran = by_slot.get(number, [])
        probes = sorted(one.speed["probe"] for one in ran if one.speed.get("probe"))
        rows.append(
            {
                "name": f"gpu{number}",
                **{name: places.get(number, {}).get(name) for name in ("node", "gpu", "model", "left")},
                "trials": len(ran),
                "crashes": sum(one.crashed for one in ran),
                "hours": sum(max(one.ended - one.began, 0.0) for one in ran) / 3600,
                "training": sum(one.speed.get("training_seconds") or 0.0 for one in ran),
                "span": sum(max(one.ended - one.began, 0.0) for one in ran),
                "probe": probes[len(probes) // 2] if probes else None,
                "now": live.get(number, {}).get("trial"),
            }
        )
    settings = source.records.settings
    return {
        "slots": rows,
        "machines": Counter(one.machine for one in outcomes if one.machine),
        "settings": settings_shown(source) if settings else [],
        "again": [one.trial for one in outcomes if "-a" in one.trial],
    }


def settings_shown(source: PageSource) -> list[tuple[str, str]]:
    """How the search was set up, for people."""
    settings = source.records.settings
    assert settings is not None
    return [
        ("begun", time.strftime("%d %B %Y, %H:%M", time.localtime(settings.created))),
        ("baseline's commit", short(settings.base)),
        ("task", settings.task.name),
        ("training budget of a trial", f"{settings.max_train_seconds:g} s"),
        ("slots at its start", str(settings.slots)),
        ("space", settings.space_name),
        ("seed", str(settings.seed)),
        ("seeds that confirm, at the least", str(settings.confirm_seeds)),
        ("share of trials for the proof", f"{settings.proof_share:.0%}"),
        ("agent", settings.agent),
        ("early stopping", str(settings.early_stop)),
        ("data set", settings.dataset),
        ("fingerprint of the data", settings.fingerprint[:12]),
        (f"validation {settings.task.items}", str(settings.validation_images or "")),
    ]
