"""What does stopping hopeless trials early save, and whom does it cost?

Two measurements, of every rule. Replayed: the product's own search runs where nothing is stopped, and each rule says of
each experiment's first trial when it would have ended it, by what was known then. A winner is an experiment that was
kept. Real searches can be replayed in place of simulated ones (--search; they must have been run with --early-stop
none). At equal hours: the search runs with the rule and without it for the same virtual time, and what it hands over is
compared by its true score.

Simulated searches run on real learning curves (--table: lcbench.py in a folder). The last line is one JSON object;
intervals are 95 %, of a share (Wilson) or of a ratio of means (bootstrap over pairs).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import scipy.linalg  # noqa: F401  its BLAS must be there before its threads are limited
import threadpoolctl

from bench.simulate import ratio, share
from bench.simulation.search import TRIAL_SECONDS, Conditions, Simulated, Simulation
from bench.simulation.worlds import Table, TableWorld
from search.core.types import Decision, EarlyStop, Outcome, Status
from search.decide.early_stop import LATEST, RUNGS, Progress, Yardstick, hopeless
from search.decide.plan import Limit
from search.report.search_records import SearchRecords

RULES = [rule for rule in EarlyStop if rule is not EarlyStop.NONE]


@dataclass(frozen=True)
class Replayed:
    """One experiment's first trial. wins: it was kept. used: the share of its seconds until a rule ends it."""

    wins: bool
    used: float


def replayed(rule: EarlyStop, outcomes: Sequence[Outcome], decisions: Sequence[Decision]) -> Iterator[Replayed]:
    """Every first trial that told its progress, as it would have gone. outcomes: in order of their ends."""
    kept = {one.experiment for one in decisions if one.status is Status.KEEP}
    decided = {one.experiment: one for one in reversed(decisions)}  # the first decision on each
    ended: dict[str, Progress] = {}
    seen: set[int] = set()
    for outcome in sorted(outcomes, key=lambda one: one.began):
        number, decision = outcome.experiment, decided.get(outcome.experiment)
        before = [ended[one.trial] for one in outcomes if one.ended <= outcome.began and one.trial in ended][-LATEST:]
        used, values = 1.0, outcome.progress
        is_first = number not in seen and number > 0
        seen.add(number)
        if is_first and values and decision is not None and decision.incumbent_score is not None:
            yardstick = Yardstick(rule, decision.incumbent_score.primary, tuple(before))
            for reached, rung in enumerate(RUNGS[: len(values)], 1):
                if hopeless(yardstick, values[:reached]) is not None:
                    used, values = rung, values[:reached]
                    break
            yield Replayed(number in kept, used)
        final = outcome.score.primary if outcome.score and used == 1.0 else None
        if values:
            ended[outcome.trial] = Progress(values, final)


def figures_of(trials: Sequence[Replayed]) -> dict[str, Any]:
    lost, interval = share([one.used < 1.0 for one in trials if one.wins])
    return {
        "winners": sum(one.wins for one in trials),
        "winners_stopped": round(lost, 4),
        "winners_stopped_interval": [round(end, 4) for end in interval],
        "seconds_saved": round(1 - fmean(one.used for one in trials if not one.wins), 4),
    }


def searched(table: Table, noise: float, seed: int, conditions: Conditions) -> tuple[TableWorld, Simulated]:
    world = TableWorld(table, noise, seed)
    return world, Simulation(world, conditions, seed).run()


def one_search(options: argparse.Namespace, seed: int) -> dict[EarlyStop, tuple[list[Replayed], float, int]]:
    """Of each rule, and of none: what is replayed of it, the true gain at equal hours, and the experiments by then."""
    threadpoolctl.threadpool_limits(limits=1, user_api="blas")  # as the driver does
    table = Table(options.table)
    usual = Conditions(limit=Limit(trials=options.trials), with_curves=True)
    _, whole = searched(table, options.noise, seed, usual)
    hours = options.trials * TRIAL_SECONDS / usual.slots
    found = {}
    for rule in (EarlyStop.NONE, *RULES):
        world, done = searched(table, options.noise, seed, Conditions(early_stop=rule, seconds=hours))
        span = table.span(world.task)
        gain = (done.truths[done.incumbent] - done.truths[0]) / span
        again = list(replayed(rule, whole.state.ended, whole.state.decisions)) if rule in RULES else []
        found[rule] = again, gain, done.state.done
    return found


def of_searches(folders: Sequence[Path]) -> dict[str, Any]:
    """Real searches, replayed."""
    records = []
    for folder in folders:
        one = SearchRecords(folder)
        one.refresh()
        if not any(outcome.progress for outcome in one.outcomes):
            sys.exit(f"--search {folder}: no trial there has told its progress; name a folder runs/TAG of a search")
        records.append(one)
    found: dict[str, Any] = {}
    for rule in RULES:
        trials = [trial for one in records for trial in replayed(rule, one.outcomes, one.decisions)]
        found[rule.value] = figures_of(trials)
        print(f"{rule:8} {found[rule.value]}", flush=True)
    return found


def of_simulations(options: argparse.Namespace) -> dict[str, Any]:
    with multiprocessing.Pool(min(os.cpu_count() or 1, options.repetitions)) as pool:
        seeds = range(options.seed, options.seed + options.repetitions)
        done = list(pool.imap(partial(one_search, options), seeds))
    usual = [one[EarlyStop.NONE] for one in done]
    found: dict[str, Any] = {}
    for rule in RULES:
        ours = [one[rule] for one in done]
        gains, gains_interval = ratio([gain for _, gain, _ in ours], [gain for _, gain, _ in usual])
        more, more_interval = ratio([count for *_, count in ours], [count for *_, count in usual])
        found[rule.value] = {
            **figures_of([trial for trials, _, _ in ours for trial in trials]),
            "gain_ratio_at_equal_hours": gains,
            "gain_ratio_interval": gains_interval,
            "experiments_per_hour_ratio": more,
            "experiments_per_hour_interval": more_interval,
        }
        print(f"{rule:8} {found[rule.value]}", flush=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="bench/early_stop.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--search", type=Path, nargs="+", metavar="RUN", help="folders runs/TAG, to be replayed")
    parser.add_argument("--table", type=Path, default=Path("../shared/hpo/lcbench"), help="folder with lcbench.py")
    parser.add_argument("--repetitions", type=int, default=4, help="simulated searches (default 4; docs: 68)")
    parser.add_argument("--trials", type=int, default=60, help="of a search (default 60)")
    parser.add_argument("--noise", type=float, default=0.2, help="of a trial, and of its progress: a share of the "
                        "distance from the median to the best (default 0.2)")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of the first search (default 0)")
    options = parser.parse_args()
    if options.repetitions < 1 or options.trials < 1:
        parser.error("--repetitions and --trials are at least 1")
    if not options.search and not (options.table / "lcbench.py").exists():
        sys.exit(f"--table {options.table}: no lcbench.py there; name the folder that has it")
    found = of_searches(options.search) if options.search else of_simulations(options)
    print(json.dumps({**found[EarlyStop.LEARNED], "rules": found}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
