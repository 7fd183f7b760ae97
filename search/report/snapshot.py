"""What a search is doing, as JSON values, from its journal and its files."""

from __future__ import annotations

import fcntl
import json
import re
from typing import Any

from search.core.paths import SearchPaths, SlotPaths
from search.core.state import State
from search.core.types import Status
from search.system.git import SHORT

LOSS = re.compile(r"loss[ =:]+([0-9.eE+-]+|nan|inf)")
TAIL_BYTES = 4096


def is_running(paths: SearchPaths) -> bool:
    """Whether a driver holds the search's lock."""
    try:
        with paths.lock.open("r") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except BlockingIOError:
        return True
    except OSError:
        return False


def place_of(state: State, number: int) -> dict[str, Any]:
    """Where a slot is: its node, its GPU's id there and the card's model; left: whether its node has gone."""
    slot = state.slots.get(number)
    if slot is None:  # of a search from before slots had places
        return {"node": None, "gpu": None, "model": None, "left": False}
    return {"node": slot.host, "gpu": slot.gpu, "model": slot.model or None, "left": number not in state.present}


def slot_now(slot: SlotPaths, now: float) -> dict[str, Any]:
    """What a slot's trial is doing: trial, description, seconds of training so far (None: it is still starting) and
    of budget, last loss; idle: trial None."""
    shown: dict[str, Any] = {"slot": slot.number, "trial": None}
    for running in sorted(slot.trials.glob("*/running.json")):
        try:
            record = json.loads(running.read_text())
            since = record["training_since"]
            with (running.parent / "run.log").open("rb") as log:
                log.seek(max(log.seek(0, 2) - TAIL_BYTES, 0))
                losses = LOSS.findall(log.read().decode(errors="replace"))
        except (OSError, ValueError):
            continue
        shown = {
            "slot": slot.number,
            "trial": running.parent.name,
            "description": record["description"],
            "commit": record["commit"],
            "training_seconds": since and round(now - since, 1),
            "budget_seconds": record["budget"],
            "loss": losses[-1] if losses else None,
        }
    return shown


def snapshot(state: State, paths: SearchPaths, running: bool, now: float) -> dict[str, Any]:
    """Everything that status tells, as JSON."""
    outcomes, decisions = list(state.outcomes.values()), list(state.verdicts.values())
    training = sum(float(outcome.footer.get("train_seconds", 0) or 0) for outcome in outcomes if not outcome.crashed)
    span = (max((o.ended for o in outcomes), default=0) - min((o.began for o in outcomes), default=0)) or 1.0
    slots = paths.slots()
    return {
        "schema_version": 3,
        "tag": state.settings.tag,
        "running": running,
        "paused": state.paused,
        "slots": [slot_now(slot, now) | place_of(state, slot.number) for slot in slots] if running else [],
        "counts": {"experiments": len(decisions)} | {str(status): state.count(status) for status in Status},
        "experiments_per_hour": round(len(decisions) / span * 3600, 1) if outcomes else 0.0,
        "share_of_time_training": round(training / span / max(len({o.slot for o in outcomes}), 1), 3)
        if outcomes
        else 0.0,
        "proposals": {
            "refused": sum(bool(one.refused) for one in state.proposals),
            "waiting": len(state.waiting()),
            "tried": sum(one.proposal is not None for one in state.experiments.values()),
            "agent_thinks": state.open_turn.agent if running and state.open_turn else None,
        },
        "frontier": [
            {
                "commit": kept.commit[:SHORT],
                "bin_acc": kept.score.bin_acc,
                "mc_acc": kept.score.mc_acc,
                "sensitivity": kept.metrics.get("sensitivity"),
                "specificity": kept.metrics.get("specificity"),
                "seeds": len(kept.seeds),
                "description": kept.description,
            }
            for kept in state.frontier
            if kept.score
        ],
        "notes": [f"{decision.commit[:SHORT]}: {decision.note}" for decision in decisions if decision.note],
    }
