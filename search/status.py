"""python -m search.status [TAG]: what a search is doing, told from another shell, from its journal and its files."""

from __future__ import annotations

import argparse
import fcntl
import json
import re
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from search.paths import RunPaths, SlotPaths
from search.state import State
from search.tags import load_state, searches
from search.types import SearchError, Status, UsageError
from search.worktree import SHORT, clean_environment, find_repository

LOSS = re.compile(r"loss[ =:]+([0-9.eE+-]+|nan|inf)")
TAIL_BYTES = 4096


def is_running(paths: RunPaths) -> bool:
    """Whether a driver holds the search's lock."""
    try:
        with paths.lock.open("r") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except BlockingIOError:
        return True
    except OSError:
        return False


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


def snapshot(state: State, paths: RunPaths, running: bool, now: float) -> dict[str, Any]:
    """Everything that status tells, as JSON."""
    outcomes, decisions = list(state.outcomes.values()), list(state.verdicts.values())
    training = sum(float(outcome.footer.get("train_seconds", 0) or 0) for outcome in outcomes if not outcome.crashed)
    span = (max((o.ended for o in outcomes), default=0) - min((o.began for o in outcomes), default=0)) or 1.0
    slots = paths.slots()
    return {
        "schema_version": 2,
        "tag": state.settings.tag,
        "running": running,
        "paused": state.paused,
        "slots": [slot_now(slot, now) for slot in slots] if running else [],
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


def rendered(shown: dict[str, Any], dashboard: str = "") -> Group:
    """The snapshot as a table for a terminal."""
    table = Table(title=f"search {shown['tag']}" + ("" if shown["running"] else " (not running)"), expand=False)
    for column in ("slot", "trial", "experiment", "trained / budget", "loss"):
        table.add_column(column)
    for slot in shown["slots"]:
        if slot["trial"] is None:
            table.add_row(f"gpu{slot['slot']}", "", "idle", "", "")
            continue
        table.add_row(
            f"gpu{slot['slot']}",
            slot["trial"],
            Text(slot["description"]),
            progress_of(slot),
            slot["loss"] or "",
        )
    counts = shown["counts"]
    lines = [
        f"{counts['experiments']} experiments: {counts['keep']} kept, {counts['discard']} discarded, "
        f"{counts['crash']} crashed; {shown['experiments_per_hour']:.0f} per hour; training "
        f"{shown['share_of_time_training']:.0%} of the slots' time"
    ]
    lines += ["paused: no new trial begins; python -m search.resume"] if shown["paused"] else []
    lines += [proposals_told(shown["proposals"])] if any(shown["proposals"].values()) else []
    lines += [
        f"  {kept['commit']}  bin_acc {kept['bin_acc']:.4f}  mc_acc {kept['mc_acc']:.4f}  {rates_of(kept)}"
        f"{kept['description']}"
        for kept in shown["frontier"][-6:]
    ]
    lines += [f"Ray dashboard {dashboard}"] if dashboard else []
    return Group(table, Text("\n".join(lines)))


def proposals_told(counts: dict[str, Any]) -> str:
    """In one line."""
    thinks = f"; {counts['agent_thinks']} thinks" if counts["agent_thinks"] else ""
    return f"proposals: {counts['tried']} tried, {counts['waiting']} waiting, {counts['refused']} refused{thinks}"


def rates_of(kept: dict[str, Any]) -> str:
    """Sensitivity and specificity, where they are known: bin_acc alone says little where few are infected."""
    known = [f"{name[:4]} {kept[name]:.2f}  " for name in ("sensitivity", "specificity") if kept.get(name) is not None]
    return "".join(known)


def progress_of(slot: dict[str, Any]) -> str:
    """How much of its budget a slot's trial has used."""
    if slot["training_seconds"] is None:
        return "starting"
    return f"{slot['training_seconds']:.0f} / {slot['budget_seconds']:.0f} s"


def plain_line(shown: dict[str, Any]) -> str:
    """The snapshot in one line, for where there is no terminal."""
    counts, best = shown["counts"], shown["frontier"][-1:]
    parts = [
        f"{counts['experiments']} experiments, {counts['keep']} kept, {counts['crash']} crashed, "
        f"{shown['experiments_per_hour']:.0f} per hour" + (f", best bin_acc {best[0]['bin_acc']:.4f}" if best else "")
    ]
    for slot in shown["slots"]:
        doing = f"{slot['trial']} {progress_of(slot)}" if slot["trial"] else "idle"
        parts.append(f"gpu{slot['slot']} {doing}" + (f" loss {slot['loss']}" if slot.get("loss") else ""))
    return " | ".join(parts)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m search.status", description="Tells what a search is doing.")
    parser.add_argument("tag", nargs="?", help="the search (default: the newest)")
    parser.add_argument("--json", action="store_true", help="as JSON")
    options = parser.parse_args(arguments)
    clean_environment()
    try:
        repository = find_repository(Path(__file__).resolve().parent.parent)
        tag = options.tag or next(iter(searches(repository)), "")
        if not tag:
            raise UsageError("no search in this repository yet; begin one: python -m search.launch --gpus 4")
        paths = RunPaths(repository.root / "runs" / tag)
        shown = snapshot(load_state(repository, tag), paths, is_running(paths), time.time())
    except UsageError as error:
        print(f"search.status: {error}", file=sys.stderr)
        return 2
    except SearchError as error:
        print(f"search.status: {error}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps(shown))
    else:
        Console().print(rendered(shown))
    return 0


if __name__ == "__main__":
    sys.exit(main())
