"""Other samplers on the same table: so many trials, each a point of its own, and the best that was seen."""

from __future__ import annotations

import random
import warnings

import optuna

from bench.simulation.worlds import TableWorld
from search.core.space import Point
from search.core.types import Experiment, Kind
from search.decide.points.sampler import distributions

RIVALS = ("random", "tpe", "gp", "botorch")


def regret_of_rival(name: str, world: TableWorld, trials: int, seed: int) -> float:
    """The true regret of what it would hand over."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    noise = random.Random(f"noise {seed}")
    study = optuna.create_study(direction="maximize", sampler=sampler_of(name, seed))
    study.enqueue_trial(world.start)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(trials):
            trial = study.ask(distributions(world.space))
            study.tell(trial, truth(world, dict(trial.params)) + noise.gauss(0, world.noise))
    assert world.best is not None
    return world.best - truth(world, dict(study.best_params))


def truth(world: TableWorld, point: Point) -> float:
    return world.truth(Experiment(1, Kind.SWEEP, ""), 0.0, point, ())


def sampler_of(name: str, seed: int) -> optuna.samplers.BaseSampler:
    """gp: Optuna's own Gaussian process; it needs torch and scipy. botorch: optuna-integration and botorch too."""
    if name == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    if name == "gp":
        return optuna.samplers.GPSampler(seed=seed, deterministic_objective=False)
    if name == "botorch":
        from optuna_integration import BoTorchSampler

        return BoTorchSampler(seed=seed)
    return optuna.samplers.TPESampler(seed=seed)
