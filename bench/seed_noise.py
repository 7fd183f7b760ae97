"""How much do scores vary over seeds, and how much of that do recipes share that ran with the same seeds?

Runs train.py for several recipes with the same seeds on a data set, without a search. The share in common is the
intraclass correlation of the residuals (two-way analysis of variance; Shrout and Fleiss, 1979). The last line is one
JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import prepare
from search.trial.footer import parse_footer

ROOT = Path(__file__).resolve().parent.parent

RECIPES = ("", "--contrast 0.3", "--lr 0.006", "--dropout 0.4")


def bin_acc(dataset: Path, recipe: str, seed: int, seconds: float, threads: int) -> float:
    """One run's score. Raises SystemExit with the run's own words if it fails."""
    done = subprocess.run(
        [
            sys.executable, "train.py", "--dataset", str(dataset), "--seed", str(seed),
            "--max-train-seconds", str(seconds), *shlex.split(recipe),
        ],
        cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": str(threads)},
    )  # fmt: skip
    footer = parse_footer(done.stdout)
    if "bin_acc" not in footer:
        raise SystemExit(f"bench/seed_noise.py: train.py {recipe} failed: {done.stderr.strip().splitlines()[-1:]}")
    print(f"{recipe or 'the recipe as it is':24} seed {seed}: {footer['bin_acc']}", flush=True)
    return float(footer["bin_acc"])


def shared_variance(scores: np.ndarray) -> tuple[float, float]:
    """(standard deviation over seeds, share of its variance in common) of (recipes, seeds) scores."""
    recipes, seeds = scores.shape
    residuals = scores - scores.mean(1, keepdims=True)
    between = recipes * float((residuals.mean(0) ** 2).sum()) / (seeds - 1)
    within = float(((residuals - residuals.mean(0)) ** 2).sum()) / ((recipes - 1) * (seeds - 1))
    noise = float(np.sqrt((residuals**2).sum() / (recipes * (seeds - 1))))
    whole = between + (recipes - 1) * within
    return noise, (between - within) / whole if whole else 0.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench/seed_noise.py", description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", type=Path, help="data set folder (default: a small synthetic one)")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of each recipe (default 3; docs: 8)")
    parser.add_argument("--max-train-seconds", type=float, default=4.0, help="budget of a run (default 4; docs: 20)")
    parser.add_argument("--recipe", action="append", help=f"flags of train.py; repeat it (default: {RECIPES})")
    parser.add_argument("--parallel", type=int, default=2, help="runs at once (default 2)")
    options = parser.parse_args()
    recipes = tuple(options.recipe or RECIPES)
    if options.seeds < 2 or len(recipes) < 2 or options.parallel < 1:
        parser.error("at least two --seeds and two --recipe, and --parallel 1")
    with tempfile.TemporaryDirectory() as folder:
        dataset = options.dataset
        if dataset is None:
            from search.task.screening.demo_images import draw

            dataset = Path(folder) / "dataset"
            draw(dataset, 200)
        try:
            data = prepare.load(dataset)
        except prepare.DataError as error:
            print(f"bench/seed_noise.py: {error}", file=sys.stderr)
            return 1
        threads = max((os.cpu_count() or 1) // options.parallel, 1)
        runs = [(recipe, seed) for recipe in recipes for seed in range(options.seeds)]
        with ThreadPoolExecutor(options.parallel) as pool:
            found = pool.map(lambda run: bin_acc(dataset, *run, options.max_train_seconds, threads), runs)
            scores = np.array(list(found)).reshape(len(recipes), options.seeds)
    noise, correlation = shared_variance(scores)
    rng = np.random.default_rng(0)
    again = [shared_variance(scores[:, rng.integers(0, options.seeds, options.seeds)])[1] for _ in range(2000)]
    low, high = np.nanpercentile(again, [2.5, 97.5])
    print(
        json.dumps(
            {
                "noise_bin_acc": round(noise, 5),
                "correlation": round(correlation, 3),
                "correlation_interval": [round(float(low), 3), round(float(high), 3)],
                "means": dict(zip(recipes, scores.mean(1).round(5).tolist(), strict=True)),
                "recipes": len(recipes),
                "seeds": options.seeds,
                "validation_photos": len(data.indices("validation")),
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
