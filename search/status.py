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

from search.paths import Names, RunPaths, SlotPaths
from search.state import State, rebuild
from search.types import SearchError, Status, UsageError
from search.worktree import SHORT, Repository, clean_environment, find_repository

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
    """What a slot's trial is doing: trial, description, elapsed and budget in seconds, last loss; idle: trial None."""
    shown: dict[str, Any] = {"slot": slot.number, "trial": None}
    for running in sorted(slot.trials.glob("*/running.json")):
        try:
            record = json.loads(running.read_text())
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
            "elapsed_seconds": round(now - record["began"], 1),
            "budget_seconds": record["budget"],
            "loss": losses[-1] if losses else None,
        }
    return shown


def snapshot(state: State, paths: RunPaths, running: bool, now: float) -> dict[str, Any]:
    """Everything that status tells, as JSON."""
    outcomes, decisions = list(state.outcomes.values()), list(state.decisions)
    training = sum(float(outcome.footer.get("train_seconds", 0) or 0) for outcome in outcomes if not outcome.crashed)
    span = (max((o.ended for o in outcomes), default=0) - min((o.began for o in outcomes), default=0)) or 1.0
    slots = paths.slots()
    return {
        "schema_version": 1,
        "tag": state.settings.tag,
        "running": running,
        "slots": [slot_now(slot, now) for slot in slots] if running else [],
        "counts": {"experiments": len(decisions)} | {str(status): state.count(status) for status in Status},
        "experiments_per_hour": round(len(decisions) / span * 3600, 1) if outcomes else 0.0,
        "share_of_time_training": round(training / span / max(len({o.slot for o in outcomes}), 1), 3)
        if outcomes
        else 0.0,
        "frontier": [
            {
                "commit": kept.commit[:SHORT],
                "bin_acc": kept.score.bin_acc,
                "mc_acc": kept.score.mc_acc,
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
    for column in ("slot", "trial", "experiment", "elapsed / budget", "loss"):
        table.add_column(column)
    for slot in shown["slots"]:
        if slot["trial"] is None:
            table.add_row(f"gpu{slot['slot']}", "", "idle", "", "")
            continue
        table.add_row(
            f"gpu{slot['slot']}",
            slot["trial"],
            Text(slot["description"]),
            f"{slot['elapsed_seconds']:.0f} / {slot['budget_seconds']:.0f} s",
            slot["loss"] or "",
        )
    counts = shown["counts"]
    lines = [
        f"{counts['experiments']} experiments: {counts['keep']} kept, {counts['discard']} discarded, "
        f"{counts['crash']} crashed; {shown['experiments_per_hour']:.0f} per hour; training "
        f"{shown['share_of_time_training']:.0%} of the slots' time"
    ]
    lines += [
        f"  {kept['commit']}  bin_acc {kept['bin_acc']:.4f}  mc_acc {kept['mc_acc']:.4f}  {kept['description']}"
        for kept in shown["frontier"][-6:]
    ]
    lines += [f"Ray dashboard {dashboard}"] if dashboard else []
    return Group(table, Text("\n".join(lines)))


def newest_tag(repository: Repository) -> str:
    """The search whose journal was written last. Raises UsageError where there is none."""
    lines = repository.run("for-each-ref", "--sort=-committerdate", "--format=%(refname)", "refs/autoresearch/")
    tags = [ref.split("/")[2] for ref in lines.splitlines() if ref.endswith("/journal")]
    if not tags:
        raise UsageError("no search in this repository yet; begin one: python -m search.launch --gpus 4")
    return tags[0]


def load_state(repository: Repository, tag: str) -> State:
    """The state of a search, from its journal. Raises UsageError where there is no such search."""
    records = repository.read_records(Names(tag).journal)
    if not records:
        raise UsageError(f"{tag}: no such search in {repository.root}")
    return rebuild(records)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m search.status", description="Tells what a search is doing.")
    parser.add_argument("tag", nargs="?", help="the search (default: the newest)")
    parser.add_argument("--json", action="store_true", help="as JSON")
    options = parser.parse_args(arguments)
    clean_environment()
    try:
        repository = find_repository(Path(__file__).resolve().parent.parent)
        tag = options.tag or newest_tag(repository)
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
