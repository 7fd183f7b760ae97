"""What a search is doing, as JSON values: its state at a glance, and what its slots' files say."""

from __future__ import annotations

import fcntl
import json
import re
from itertools import islice
from typing import Any

from search.core.paths import SearchPaths, SlotPaths
from search.core.state import State
from search.core.types import Status, short
from search.decide.proof import recommended
from search.decide.rules import mean_of, scored
from search.report.evidence import recommendation_shown
from search.system.files import end_of

SCHEMA_VERSION = 4
LOSS = re.compile(r"loss[ =:]+([0-9.eE+-]+|nan|inf)")
TAIL_BYTES = 4096
MOST_NOTES = 20  # the latest
LEAST_PROGRESS = 0.02  # of a search, before its rate says when it ends
LATEST_TRIALS = 512  # a thousand slots end fewer between two looks


def is_running(paths: SearchPaths) -> bool:
    """Whether a driver holds the search's lock. It is taken for a moment if nobody has it: drivers wait that long."""
    try:
        with paths.lock.open("r") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except BlockingIOError:
        return True
    except OSError:
        return False


def view_of(state: State) -> dict[str, Any]:
    """What a state says at a glance; places: each slot's node, its GPU's id there, the card's model, and whether its
    node has gone."""
    task = state.settings.task
    span = (state.last_ended - (state.first_began or 0.0)) or 1.0
    training = state.trained_seconds / span / max(len(state.slots_used), 1)
    return {
        "tag": state.settings.tag,
        "metric": task.metric.name,
        "paused": state.paused,
        "counts": {"experiments": len(state.verdicts)} | {str(status): state.counts[status] for status in Status},
        "experiments_per_hour": round(len(state.verdicts) / span * 3600, 1) if state.ended else 0.0,
        "share_of_time_training": round(training, 3) if state.ended else 0.0,
        "first_began": state.first_began,
        "aside": sorted(state.health.aside),
        "proposals": {
            "refused": len(state.proposals) - len(state.waiting) - len(state.experiments_of_proposals),
            "waiting": len(state.waiting),
            "tried": len(state.experiments_of_proposals),
            "agent_thinks": state.open_turn.agent if state.open_turn else None,
        },
        "frontier": [
            {
                "commit": short(kept.commit),
                **task.named(score),
                "score_in_words": task.shown(score) + task.by_own_word,
                **{name: kept.metrics.get(name) for name in task.shown_rates},
                "rates_in_words": task.rates_text(kept.metrics),
                "seeds": len(scored(state, kept.experiment)),
                "description": kept.description,
            }
            for kept in state.frontier
            if (score := mean_of(scored(state, kept.experiment)) or kept.score)
        ],
        "recommended": recommendation_shown(recommended(state), state.incumbent, task),
        "notes": [
            f"{short(decision.commit)}: {decision.note}"
            for decision in reversed(list(islice(reversed(state.noted.values()), MOST_NOTES)))
        ],
        "latest": [(outcome.slot, outcome.trial) for outcome in state.ended[-LATEST_TRIALS:]],
        "places": {
            number: {
                "node": slot.host,
                "gpu": slot.gpu,
                "model": slot.model or None,
                "left": number not in state.present,
            }
            for number, slot in state.slots.items()
        },
    }


def slot_now(slot: SlotPaths, now: float) -> dict[str, Any]:
    """What a slot's trial is doing: trial, description, seconds of training so far (None: it is still starting), of
    evaluation (None: it still trains) and of budget, last loss; idle: trial None."""
    shown: dict[str, Any] = {"slot": slot.number, "trial": None}
    for trial in slot.running_trials():
        try:
            record = json.loads(trial.running.read_text())
            since, evaluating = record["training_since"], record.get("evaluating_since")
            shown = {
                "slot": slot.number,
                "trial": trial.root.name,
                "description": record["description"],
                "why": record.get("why", ""),
                "began": record["began"],
                "commit": record["commit"],
                "training_seconds": since and round((evaluating or now) - since, 1),
                "evaluating_seconds": evaluating and round(now - evaluating, 1),
                "budget_seconds": record["max_train_seconds"],
            }
        except (OSError, ValueError, KeyError):
            continue
        losses = LOSS.findall(end_of(trial.log, TAIL_BYTES))
        shown["loss"] = losses[-1] if losses else None
    return shown


def doing_of(slot: dict[str, Any]) -> str:
    """In one word. slot: by slot_now, with its place."""
    if slot["left"]:
        return "left"
    if slot["trial"] is None:
        return "idle"
    if slot["training_seconds"] is None:
        return "starting"
    return "training" if slot["evaluating_seconds"] is None else "evaluating"


def seconds_left(view: dict[str, Any], now: float) -> float | None:
    """Until the search's limit, at its rate so far; None without a limit, or before there is a rate."""
    share, began = view.get("progress") or 0.0, view.get("first_began")
    if not began or not LEAST_PROGRESS < share < 1:
        return None
    return round((now - began) * (1 - share) / share, 1)


def duration(seconds: float) -> str:
    """For people: 45 s, 12 min, 3 h 05 min, 2 d 4 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest:02} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def snapshot(view: dict[str, Any], paths: SearchPaths, running: bool, now: float) -> dict[str, Any]:
    """Everything that status reports, as JSON. view: by view_of, also if it was read from a file."""
    places = {int(number): place for number, place in view["places"].items()}
    unknown = {"node": None, "gpu": None, "model": None, "left": False}
    slots = [slot_now(slot, now) | places.get(slot.number, unknown) for slot in paths.slots()] if running else []
    slots = [slot | {"doing": doing_of(slot)} for slot in slots]
    proposals = view["proposals"] | ({} if running else {"agent_thinks": None})
    rest = {name: value for name, value in view.items() if name not in ("places", "latest", "tag", "tip", "records")}
    return {
        "schema_version": SCHEMA_VERSION,
        "tag": view["tag"],
        "running": running,
        "seconds_left": seconds_left(view, now) if running else None,
        "slots": slots,
        **rest,
        "proposals": proposals,
    }
