"""The folder of a search that was made up: as many experiments as are wanted, with everything that a page shows."""

import json
import random
from dataclasses import replace
from pathlib import Path

from search.core.codec import encode
from search.core.paths import SearchPaths
from search.core.task import Score
from search.core.types import Change, Cost, Decision, Outcome, Proposal, Status, StoppedEarly
from search.decide.points.sampler import frozen_trial
from search.records.ledgers import json_lines
from search.report.history import History
from search.report.summary import summarise
from tests.support.states import RECIPE, SETTINGS, SPACE, TASK

HOSTILE = "<script>alert('x')</script> & \"quoted\" <img src=x onerror=alert(1)>"
BEGAN = 1_795_000_000.0  # seconds since the epoch
SLOTS = 4
SPEED = {"start_up_seconds": 6.0, "training_seconds": 300.0, "evaluation_seconds": 2.0, "probe": 900.0}


def commit_of(number):
    return f"{number:07x}" + "ab" * 16 + "c"


def search(root: Path, count: int, seed: int = 0, tag: str = "made-up") -> Path:
    """runs/<tag> in root, with so many experiments after the baseline; its folder."""
    rng, paths = random.Random(seed), SearchPaths(root / "runs" / tag)
    settings = replace(
        SETTINGS,
        tag=tag,
        slots=SLOTS,
        created=BEGAN,
        validation_images=240,
        max_train_seconds=300.0,
        gpu_dollars_per_hour=2.5,
        base=commit_of(0),
    )
    outcomes, decisions, best, kept = [], [], None, commit_of(0)
    free = [BEGAN] * SLOTS
    for number in range(count + 1):
        slot = min(range(SLOTS), key=free.__getitem__)
        kind = rng.random() if number else 1.0
        change = Change("lr", 0.01, round(10 ** rng.uniform(-4, 0), 4))
        worth = 0.80 + 0.12 * number / (count + 1) ** 0.98 * rng.random() + rng.gauss(0, 0.02)
        score = Score(round(min(worth, 0.99), 6), round(0.4 + 0.4 * rng.random(), 6))
        stopped = StoppedEarly(80.0, 0.8, 0.02) if 0.04 < kind < 0.08 else None
        crashed = kind <= 0.04
        seeds = range(4) if number == 0 else range(1)
        for of_seed in seeds:
            began = free[slot]
            free[slot] += 310.0 if not crashed else 20.0
            outcomes.append(
                Outcome(
                    f"e{number:04d}-s{of_seed}",
                    number,
                    of_seed,
                    slot,
                    commit_of(number),
                    None if crashed or stopped else score,
                    "exit code 1: RuntimeError: " + HOSTILE if crashed else "stopped early" if stopped else "",
                    1200.0,
                    began,
                    free[slot],
                    metrics=metrics_of(rng) if not crashed else {},
                    traceback=f"Traceback (most recent call last):\n{HOSTILE}" if crashed else "",
                    speed=dict(SPEED),
                    machine="cpu",
                    losses=tuple(round(1.6 - 0.2 * n + rng.gauss(0, 0.05), 3) for n in range(6)),
                    stopped=stopped,
                )
            )
        is_better = number == 0 or (
            not crashed and not stopped and best is not None and score.primary > best.primary + 0.01
        )
        status = Status.KEEP if is_better else Status.CRASH if crashed else Status.DISCARD
        decisions.append(
            Decision(
                number,
                status,
                "baseline" if number == 0 else "better by 0.0123 over 2 seeds: 97 % likely",
                commit_of(number),
                slot,
                None if crashed or stopped else score,
                1.2,
                "baseline" if number == 0 else HOSTILE if number == 1 else f"{change}, label_smoothing 0.05 -> 0.1",
                kept,
                best,
                (change,) if number else (),
                tuple(seeds),
                free[slot] + 0.5,
                probability=0.93,
                estimate=score.primary,
                metrics={"sensitivity": round(rng.uniform(0.3, 0.9), 3), "specificity": 0.87},
                proposal=1 if number == 2 else None,
            )
        )
        if is_better:
            best, kept = score, commit_of(number)
    proposals = [
        Proposal(1, "claude", HOSTILE, commit_of(0), commit_of(2), cost=Cost(41.0, 1, 6, 9000, 1200, 0.11)),
        Proposal(2, "builtin", "squeeze and excitation", commit_of(0), refused="it does not parse: line 3"),
    ]
    paths.root.mkdir(parents=True)
    paths.settings.write_text(json.dumps(encode(settings)))
    paths.trials.write_text(json_lines(TASK, "outcome", outcomes))
    paths.decisions.write_text(json_lines(TASK, "decision", decisions))
    paths.proposals.write_text(json_lines(None, "proposal", proposals))
    paths.notes.write_text("try wider models\n")
    write_rows(paths, decisions)
    write_study(paths, outcomes[: 4 + 200], rng)
    for outcome in outcomes[:6]:
        trial = paths.slot(outcome.slot).trial(outcome.trial)
        trial.root.mkdir(parents=True)
        trial.log.write_text(f"step 1 | loss 1.5\n{HOSTILE}\n---\nbin_acc: 0.8\n")
    summarise(paths.slot_results(), paths.root, History(None))
    return paths.root


def metrics_of(rng):
    return {"confusion": [[rng.randint(0, 30) for _ in range(5)] for _ in range(5)]}


def write_rows(paths, decisions):
    from search.records.results_tsv import header_of, row_of

    lines = {slot: [header_of(TASK)] for slot in range(SLOTS)}
    for decision in decisions:
        lines[decision.slot].append(row_of(decision).line(TASK))
    for slot, of_slot in lines.items():
        paths.slot(slot).root.mkdir(parents=True)
        paths.slot(slot).results.write_text("\n".join(of_slot) + "\n")


def write_study(paths, outcomes, rng):
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(storage=f"sqlite:///{paths.study}", study_name="code 1", direction="maximize")
    made = []
    for outcome in outcomes:
        point = RECIPE | {"lr": 10 ** rng.uniform(-3.9, -0.1), "width": rng.randint(1, 64)}
        stopped = outcome.stopped is not None
        made.append(frozen_trial(TASK, SPACE, "1", outcome.experiment, outcome.seed, point, outcome.score, stopped))
    study.add_trials(made)


def running(
    folder: Path, trial: str = "e0009-s0", slot: int = 1, began: float = BEGAN, evaluating: float | None = None
) -> Path:
    """A trial of this search that runs; its log. evaluating: since when it does."""
    paths = SearchPaths(folder).slot(slot).trial(trial)
    paths.root.mkdir(parents=True, exist_ok=True)
    record = {
        "began": began,
        "training_since": began + 6,
        "evaluating_since": evaluating,
        "slot": slot,
        "commit": "abc1234",
        "description": HOSTILE,
        "why": "expected to gain 0.004",
        "max_train_seconds": 300,
        "pid": 1,
    }
    paths.running.write_text(json.dumps(record))
    paths.log.write_text("".join(f"step {n} | loss {2 - n / 20:.3f}\n" for n in range(20)))
    return paths.log
