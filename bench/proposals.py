"""Compares the search's proposals with random moves around the incumbent, and with Optuna's plain TPE.

On a table of real learning runs (lcbench, see --table), with noise on what a trial scores: every side gets the same
number of trials and the same rule, keep what is strictly higher. Judged by the noiseless value of what it kept last,
as regret: the distance to the best known value, in points of accuracy.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import fmean

import optuna

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from search.core.space import Axis, Point, Space, random_move
from search.core.types import Score
from search.decide.sampler import distributions
from search.decide.study import Study

SPACE = Space(
    "lcbench",
    (
        Axis("batch_size", "int", 16, 512, True, 3.0),
        Axis("learning_rate", "float", 1e-4, 1e-1, True, 4.0),
        Axis("momentum", "float", 0.1, 0.99, False, 0.3),
        Axis("weight_decay", "float", 1e-5, 1e-1, False, 0.03),
        Axis("num_layers", "int", 1, 5, False, 1.5),
        Axis("max_units", "int", 64, 1024, True, 3.0),
        Axis("max_dropout", "float", 0.0, 1.0, False, 0.3),
    ),
)
Measure = Callable[[Point], float]


def climb(
    start: Point, trials: int, measure: Measure, ask: Callable[[Point], Point], tell: Callable[[Point, float], None]
) -> Point:
    """The incumbent after so many trials of ask, measure, keep if strictly higher."""
    incumbent, best = start, measure(start)
    tell(start, best)
    for _ in range(trials - 1):
        point = ask(incumbent)
        value = measure(point)
        tell(point, value)
        if value > best:
            incumbent, best = point, value
    return incumbent


def ours(start: Point, trials: int, measure: Measure, seed: int) -> Point:
    study = Study(SPACE, seed, "table")
    measured = 0

    def ask(incumbent: Point) -> Point:
        return study.suggest(measured, incumbent) or incumbent

    def tell(point: Point, value: float) -> None:
        nonlocal measured
        study.exclude(point)
        study.observe(measured, 0, point, Score(value / 100, 0.0))
        measured += 1

    return climb(start, trials, measure, ask, tell)


def random_moves(start: Point, trials: int, measure: Measure, seed: int) -> Point:
    rng = random.Random(seed)
    return climb(
        start,
        trials,
        measure,
        lambda incumbent: random_move(SPACE, incumbent, 2 if rng.random() < 0.2 else 1, 1.0, rng),
        lambda point, value: None,
    )


def plain_tpe(start: Point, trials: int, measure: Measure, seed: int) -> Point:
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    study.enqueue_trial(start)
    for _ in range(trials):
        trial = study.ask(distributions(SPACE))
        study.tell(trial, measure(dict(trial.params)))
    return dict(study.best_params)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, default=Path("../shared/hpo/lcbench"), help="folder with lcbench.py")
    parser.add_argument("--seeds", type=int, default=30, help="repetitions (default 30)")
    parser.add_argument("--trials", type=int, default=60, help="trials of each side in each repetition (default 60)")
    parser.add_argument("--noise", type=float, default=1.0, help="standard deviation, points of accuracy (default 1)")
    options = parser.parse_args()
    if not (options.table / "lcbench.py").exists():
        sys.exit(f"--table {options.table}: no lcbench.py there; name the folder that has it")
    sys.path.insert(0, str(options.table.resolve()))
    import lcbench

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    optimum = json.loads((options.table / "optimum.json").read_text())
    regrets: dict[str, list[float]] = {"ours": [], "random": [], "tpe": []}
    for seed in range(options.seeds):
        task = lcbench.TASKS[seed % len(lcbench.TASKS)]
        rng = random.Random(seed)
        start = {axis.name: axis.value_at(rng.random()) for axis in SPACE.axes}

        def true_value(point: Point, task: str = task) -> float:
            return float(lcbench.predict([dict(point, epoch=52)], task)[0, 1])

        for name, side in (("ours", ours), ("random", random_moves), ("tpe", plain_tpe)):
            noise = random.Random(f"noise {seed}")
            kept = side(
                start,
                options.trials,
                lambda point, noise=noise: true_value(point) + noise.gauss(0, options.noise),
                seed,
            )
            regrets[name].append(optimum[task]["best_val_accuracy"] - true_value(kept))
        print(
            f"seed {seed} task {task}: " + ", ".join(f"{name} {r[-1]:.2f}" for name, r in regrets.items()), flush=True
        )
    wins = [(a < b) + 0.5 * (a == b) for a, b in zip(regrets["ours"], regrets["random"], strict=True)]
    wins_tpe = [(a < b) + 0.5 * (a == b) for a, b in zip(regrets["ours"], regrets["tpe"], strict=True)]
    print(
        json.dumps(
            {
                "win_rate_over_random": round(fmean(wins), 4),
                "win_rate_over_tpe": round(fmean(wins_tpe), 4),
                "regret": round(fmean(regrets["ours"]), 4),
                "regret_random": round(fmean(regrets["random"]), 4),
                "regret_tpe": round(fmean(regrets["tpe"]), 4),
                "seeds": options.seeds,
                "trials": options.trials,
                "noise": options.noise,
            }
        )
    )


if __name__ == "__main__":
    main()
