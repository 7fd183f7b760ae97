"""Does confirming pay? Replays searches with known true scores, the bare rule against races (decide/posterior.py).

Each replay is a search of so many trials. An experiment's true score is its incumbent's plus an effect; a trial shows
it with noise. A quarter of the effects are good. The last line is one JSON object with the figures.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from search.decide import posterior
from search.decide.posterior import Contender, Next

BASELINE_SEEDS = 4  # one for each slot
CURVE = (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6)  # probabilities after the first seed that are worth a second


@dataclass(frozen=True)
class World:
    """What is replayed. noise: standard deviation of a trial. correlation: the share of the noise's variance that
    trials with the same seed have in common. good_share: of ideas whose effect is in 0…best; the others: worst…0."""

    trials: int = 200
    noise: float = 0.02
    correlation: float = 0.0
    good_share: float = 0.25
    best: float = 0.02
    worst: float = -0.03


@dataclass(frozen=True)
class Replay:
    """One replayed search. true_gain: the last incumbent's true score above the baseline's."""

    true_gain: float
    kept: int
    truly_better: int
    confirmations: int
    trials: int


class Luck:
    """True effects and noisy scores of one replay."""

    def __init__(self, world: World, seed: int) -> None:
        self.world, self.random = world, random.Random(seed)
        self.of_seed: dict[int, float] = {}

    def effect(self) -> float:
        if self.random.random() < self.world.good_share:
            return self.random.uniform(0, self.world.best)
        return self.random.uniform(self.world.worst, 0)

    def score(self, truth: float, seed: int) -> float:
        common = self.of_seed.setdefault(seed, self.random.gauss(0, 1))
        own = self.random.gauss(0, 1)
        share = self.world.correlation
        return truth + self.world.noise * (math.sqrt(share) * common + math.sqrt(1 - share) * own)


def bare_rule(world: World, seed: int) -> Replay:
    """Keep what scores higher on its one run."""
    luck, truth, kept, better = Luck(world, seed), 0.0, 0, 0
    best = luck.score(truth, 0)
    for _ in range(world.trials - 1):
        challenger = truth + luck.effect()
        score = luck.score(challenger, 0)
        if score > best:
            kept, better = kept + 1, better + (challenger > truth)
            truth, best = challenger, score
    return Replay(truth, kept, better, 0, world.trials)


def with_races(world: World, seed: int, confirm_seeds: int) -> Replay:
    """Challengers race the incumbent, as search/decide/posterior.py has it."""
    luck = Luck(world, seed)
    truths = {0: 0.0}
    contenders = {0: Contender(0, None, tuple(luck.score(0.0, n) for n in range(BASELINE_SEEDS)))}
    incumbents, standing = [0], [0]  # all that ever were; those not replaced by their predecessor
    trials, confirmations, kept, better = BASELINE_SEEDS, 0, 0, 0

    def measure(number: int) -> None:
        nonlocal trials, confirmations
        contender = contenders[number]
        score = luck.score(truths[number], len(contender.scores))
        contenders[number] = replace(contender, scores=(*contender.scores, score))
        trials, confirmations = trials + 1, confirmations + 1

    while trials < world.trials:
        number, incumbent = len(truths), standing[-1]
        truths[number] = truths[incumbent] + luck.effect()
        contenders[number] = Contender(number, incumbent, (luck.score(truths[number], 0),))
        trials += 1
        need = Next.DROP
        while True:
            known = [contender for contender in contenders.values() if contender.number != number]
            model = posterior.fit(known, incumbents, world.noise)
            need = posterior.next_of(contenders[number], contenders[incumbent], model, confirm_seeds)
            if need in (Next.DROP, Next.DECIDE) or trials >= world.trials:
                break
            measure(incumbent if need is Next.INCUMBENT else number)
            if len(standing) > 1 and contenders[incumbent].mean < contenders[standing[-2]].mean:
                standing.pop()
                incumbent = standing[-1]
        if need is Next.DECIDE and contenders[number].mean > contenders[incumbent].mean:
            kept, better = kept + 1, better + (truths[number] > truths[incumbent])
            incumbents.append(number)
            standing.append(number)
    return Replay(truths[standing[-1]], kept, better, confirmations, trials)


def figures(replays: Sequence[Replay]) -> dict[str, float]:
    kept = sum(replay.kept for replay in replays)
    return {
        "true_gain": round(fmean(replay.true_gain for replay in replays), 4),
        "kept_truly_better": round(sum(replay.truly_better for replay in replays) / max(kept, 1), 4),
        "kept": round(kept / len(replays), 2),
        "confirmation_share_of_trials": round(
            sum(replay.confirmations for replay in replays) / sum(replay.trials for replay in replays), 4
        ),
    }


def _race(arguments: tuple[World, int, int, float]) -> Replay:
    world, seed, confirm_seeds, gate = arguments
    posterior.WORTH_A_SECOND_SEED = gate
    return with_races(world, seed, confirm_seeds)


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench/evidence.py", description=__doc__.splitlines()[0])
    parser.add_argument("--replays", type=int, default=200, help="searches to replay (default 200; docs: 1000)")
    parser.add_argument("--trials", type=int, default=200, help="trials of a search (default 200)")
    parser.add_argument("--noise", type=float, default=0.02, help="standard deviation of a trial (default 0.02)")
    parser.add_argument("--good-share", type=float, default=0.25, help="share of good ideas (default 0.25)")
    parser.add_argument("--best", type=float, default=0.02, help="largest good effect (default 0.02)")
    parser.add_argument("--worst", type=float, default=-0.03, help="largest bad effect (default -0.03)")
    parser.add_argument("--confirm-seeds", type=int, default=2, help="as of search.launch (default 2)")
    parser.add_argument(
        "--correlation",
        type=float,
        default=0.0,
        help="share of the noise's variance that trials of one seed have in common, shown as a second line (default 0)",
    )
    parser.add_argument("--curve", action="store_true", help="show the trade-off over the probability that is enough")
    options = parser.parse_args()
    for name in ("replays", "trials", "confirm_seeds"):
        if getattr(options, name) < (0 if name == "confirm_seeds" else 1):
            parser.error(f"--{name.replace('_', '-')} is {getattr(options, name)}; it is too small")
    if not 0 <= options.correlation <= 1 or not 0 <= options.good_share <= 1 or options.noise <= 0:
        parser.error("--correlation and --good-share are from 0 to 1, --noise is above 0")
    world = World(options.trials, options.noise, 0.0, options.good_share, options.best, options.worst)
    seeds = range(options.replays)

    with multiprocessing.Pool(os.cpu_count()) as pool:

        def raced(world: World, gate: float) -> dict[str, float]:
            tasks = [(world, seed, options.confirm_seeds, gate) for seed in seeds]
            return figures(pool.map(_race, tasks, chunksize=5))

        default = posterior.WORTH_A_SECOND_SEED
        bare = figures([bare_rule(world, seed) for seed in seeds])
        print(f"bare rule      {bare}", flush=True)
        races = raced(world, default)
        print(f"races          {races}", flush=True)
        if options.correlation:
            shared = replace(world, correlation=options.correlation)
            print(f"correlation {options.correlation:g}: bare rule {figures([bare_rule(shared, s) for s in seeds])}")
            print(f"correlation {options.correlation:g}: races     {raced(shared, default)}", flush=True)
        if options.curve:
            for gate in CURVE:
                print(f"second seed from probability {gate:.2f}: {raced(world, gate)}", flush=True)
    result = {
        "true_gain": races["true_gain"],
        "true_gain_bare_rule": bare["true_gain"],
        "gain_ratio": round(races["true_gain"] / bare["true_gain"], 3) if bare["true_gain"] else None,
        "kept_truly_better": races["kept_truly_better"],
        "kept_truly_better_bare_rule": bare["kept_truly_better"],
        "confirmation_share_of_trials": races["confirmation_share_of_trials"],
        "kept": races["kept"],
        "kept_bare_rule": bare["kept"],
        "trials": options.trials,
        "replays": options.replays,
    }
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
