"""Runs the product's own search in worlds whose truth is known, and says how good what it hands over is.

WORLD is one of: generous, sparse, null (experiments gain effects drawn from a distribution), tables (real learning
runs), codes (the same, and each edit leads to a related task's surface). The plan, the decisions, the races, the
posterior, the proof and the state are the product's; trials take virtual time. Every search is a repetition with a seed
of its own. The last line is one JSON object; intervals are 95 %, of a mean (normal) or of a share (Wilson).
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import scipy.linalg  # noqa: F401  its BLAS must be there before its threads are limited
import threadpoolctl

from bench.simulation.rivals import RIVALS, regret_of_rival
from bench.simulation.search import Conditions, Simulated, Simulation
from bench.simulation.worlds import EFFECTS, CodesWorld, EffectsWorld, Table, TableWorld, with_flags
from search.core.types import Status
from search.decide.plan import Limit
from search.task.screening.rates import wilson

WORSE = 0.001  # truly worse than the baseline by more
TRIALS = 60  # of a search on tables


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench/simulate.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("world", choices=(*EFFECTS, "tables", "codes"), metavar="WORLD")
    parser.add_argument("--noise", type=float, help="of a trial: a deviation (default 0.02); in tables and codes a "
                        "share of the distance from the median to the best (default 0.2)")  # fmt: skip
    parser.add_argument("--slots", type=int, default=4, help="(default 4)")
    parser.add_argument("--experiments", type=int, help="of a search (default 96; tables and codes: no limit)")
    parser.add_argument("--trials", type=int, help=f"of a search, all counted (default none; tables, codes {TRIALS})")
    parser.add_argument("--repetitions", type=int, default=8, help="searches (default 8; docs: 200, tables 34)")
    parser.add_argument("--seed", type=int, default=0, help="of the first search (default 0)")
    parser.add_argument("--confirm-seeds", type=int, default=1, help="as of search.launch (default 1)")
    parser.add_argument("--proof-share", type=float, default=0.1, help="as of search.launch (default 0.1)")
    parser.add_argument("--no-proposals", action="store_true", help="the agent proposes nothing")
    parser.add_argument("--good-share", type=float, help="share of good ideas, in place of the world's")
    parser.add_argument("--best", type=float, help="largest good effect, likewise")
    parser.add_argument("--worst", type=float, help="largest bad effect, likewise")
    parser.add_argument("--seed-correlation", type=float, default=0.0, help="share of the noise's variance that trials "
                        "of one seed have in common (default 0)")  # fmt: skip
    parser.add_argument("--crash-share", type=float, default=0.0, help="of trials (default 0)")
    parser.add_argument("--slow", type=int, default=0, help="slots that take twice as long (default 0)")
    parser.add_argument("--kinds", type=int, default=1, help="kinds of slots (default 1)")
    parser.add_argument("--edit-gain", type=float, default=3.0, help="codes: of an edit, in noises (default 3)")
    parser.add_argument("--quality", type=float, default=1.0, help="codes: share of edits that gain (default 1)")
    parser.add_argument("--most-edits", type=int, default=1, help="codes: edits proposed (default 1)")
    parser.add_argument("--edits-every", type=int, default=24, help="codes: experiments of a round (default 24)")
    parser.add_argument("--beside", nargs="+", default=[], choices=RIVALS, help="tables: samplers to run beside TPE")
    parser.add_argument("--table", type=Path, default=Path("../shared/hpo/lcbench"), help="folder with lcbench.py")
    options = parser.parse_args()
    for name in ("slots", "experiments", "trials", "repetitions", "kinds", "edits_every"):
        value = getattr(options, name)
        if value is not None and value < 1:
            parser.error(f"--{name.replace('_', '-')} {value}: at least 1")
    is_table = options.world in ("tables", "codes")
    options.noise = options.noise if options.noise is not None else 0.2 if is_table else 0.02
    if options.noise <= 0 or not 0 <= options.seed_correlation <= 1:
        parser.error("--noise is above 0, and --seed-correlation from 0 to 1")
    if is_table and not (options.table / "lcbench.py").exists():
        sys.exit(f"--table {options.table}: no lcbench.py there; name the folder that has it")
    if is_table and options.trials is None and options.experiments is None:
        options.trials = TRIALS
    if not is_table and options.experiments is None and options.trials is None:
        options.experiments = 96
    return options


def conditions_of(options: argparse.Namespace, **more: Any) -> Conditions:
    usual = Conditions(
        slots=options.slots,
        limit=Limit(options.experiments, options.trials),
        confirm_seeds=options.confirm_seeds,
        proof_share=options.proof_share,
        slow=options.slow,
        kinds=options.kinds,
        crash_share=options.crash_share,
        seed_correlation=options.seed_correlation,
    )
    return replace(usual, **more)


def in_effects(options: argparse.Namespace, seed: int) -> dict[str, Any]:
    effects = with_flags(EFFECTS[options.world], options.good_share, options.best, options.worst)
    world = EffectsWorld(effects, options.noise, seed, not options.no_proposals)
    done = Simulation(world, conditions_of(options), seed).run()
    base = world.baseline
    kept = [one for one in done.state.kept if one.experiment]
    parents = {one.commit: one.experiment for one in done.state.kept}
    return {
        "recommended_gain": done.truths[done.recommended] - base,
        "incumbent_gain": done.truths[done.incumbent] - base,
        "recommended_worse": done.truths[done.recommended] < base - WORSE,
        "incumbent_worse": done.truths[done.incumbent] < base - WORSE,
        "said_better": done.recommended != 0,
        "kept": len(kept),
        "kept_truly_better": sum(
            done.truths[one.experiment] > done.truths[parents.get(one.incumbent, 0)] for one in kept
        ),
        **counts(done),
    }


def counts(done: Simulated) -> dict[str, Any]:
    state = done.state
    fresh = sum(len(runs) for runs in state.fresh.values())
    experiments = sum(number != 0 for number in state.trials)
    return {
        "trials": len(state.ended),
        "proof_trials": fresh,
        "confirmations": len(state.ended) - fresh - experiments - len(state.baseline_seeds),
        "fallen": sum(one.status is Status.DISCARD for one in (state.verdicts[k.experiment] for k in state.kept)),
        "hours": done.seconds / 3600,
    }


def in_tables(options: argparse.Namespace, seed: int) -> dict[str, Any]:
    table = Table(options.table)
    world = TableWorld(table, options.noise, seed)
    done = Simulation(world, conditions_of(options), seed).run()
    span = table.span(world.task)
    found = {
        "regret": (world.best - done.truths[done.recommended]) / span,
        "regret_of_incumbent": (world.best - done.truths[done.incumbent]) / span,
        "said_better": done.recommended != 0,
        "regret_of_baseline": (world.best - done.truths[0]) / span,
        **counts(done),
    }
    trials = len(done.state.ended)
    for rival in ("tpe", "random", *options.beside):
        found[f"regret_{rival}"] = regret_of_rival(rival, world, trials, seed) / span
    return found


def in_codes(options: argparse.Namespace, seed: int) -> dict[str, Any]:
    table = Table(options.table)
    found: dict[str, Any] = {}
    for name, borrowing, edits in (
        ("borrowing", True, options.most_edits), ("anew", False, options.most_edits), ("without_edits", True, 0)
    ):  # fmt: skip
        world = CodesWorld(table, options.noise, seed, options.edit_gain, edits, options.quality)
        under = conditions_of(options, borrowing=borrowing, per_round=options.edits_every)
        done = Simulation(world, under, seed).run()
        span = table.span(world.task)
        found[f"regret_{name}"] = (world.highest() - done.truths[done.incumbent]) / span
        found[f"gain_{name}"] = (done.truths[done.incumbent] - done.truths[0]) / span
        if name == "borrowing":
            found |= counts(done)
    found["borrowing_not_worse"] = found["regret_borrowing"] <= found["regret_anew"] + WORSE
    return found


def interval(values: Sequence[float]) -> list[float]:
    """Of the mean, 95 %."""
    half = 1.96 * stdev(values) / math.sqrt(len(values)) if len(values) > 1 else float("nan")
    return [round(fmean(values) - half, 5), round(fmean(values) + half, 5)]


def share(values: Sequence[bool]) -> tuple[float, list[float]]:
    """With Wilson's interval."""
    of = wilson(sum(values), len(values))
    assert of is not None
    return of[0], of[1:]


def figures(world: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    """What all repetitions say together."""
    made: dict[str, Any] = {}
    for name in found[0]:
        values = [one[name] for one in found]
        if isinstance(values[0], bool):
            made[f"{name}_share"], made[f"{name}_share_interval"] = share(values)
        else:
            made[name], made[f"{name}_interval"] = round(fmean(values), 5), interval(values)
    if world in EFFECTS:
        kept = sum(one["kept"] for one in found)
        made["kept_truly_better"] = round(sum(one["kept_truly_better"] for one in found) / kept, 4) if kept else None
        del made["kept_truly_better_interval"]
    if world == "tables":
        for side in ("regret", "regret_of_incumbent"):
            name = "ratio_to_tpe" if side == "regret" else "ratio_of_incumbent_to_tpe"
            made[name], made[f"{name}_interval"] = ratio(
                [one[side] for one in found], [one["regret_tpe"] for one in found]
            )
    return made


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, list[float]]:
    """Of the means, with an interval by the bootstrap over pairs (Efron, 1979)."""
    import numpy as np

    rng, pairs = np.random.default_rng(0), np.array([ours, theirs])
    drawn = pairs[:, rng.integers(0, len(ours), (4000, len(ours)))].mean(2)
    low, high = np.percentile(drawn[0] / np.maximum(drawn[1], 1e-9), [2.5, 97.5])
    return round(fmean(ours) / max(fmean(theirs), 1e-9), 4), [round(float(low), 4), round(float(high), 4)]


def one_search(options: argparse.Namespace, seed: int) -> dict[str, Any]:
    threadpoolctl.threadpool_limits(limits=1, user_api="blas")  # as the driver does
    kinds: dict[str, Callable[..., dict[str, Any]]] = {"tables": in_tables, "codes": in_codes}
    return kinds.get(options.world, in_effects)(options, seed)


def main() -> int:
    options = arguments()
    seeds = range(options.seed, options.seed + options.repetitions)
    found = []
    with multiprocessing.Pool(min(os.cpu_count() or 1, options.repetitions)) as pool:
        for one in pool.imap(partial(one_search, options), seeds):
            found.append(one)
            shown = ", ".join(
                f"{name} {value:.4f}" if isinstance(value, float) else f"{name} {value}" for name, value in one.items()
            )
            print(f"seed {seeds[len(found) - 1]}: {shown}", flush=True)
    rest = {"world": options.world, "noise": options.noise, "slots": options.slots, "repetitions": options.repetitions}
    print(json.dumps({**figures(options.world, found), **rest}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
