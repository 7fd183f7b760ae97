"""Fits a model to a table and prints its out-of-fold scores: the only file to edit."""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from prepare import score
from sklearn.ensemble import HistGradientBoostingClassifier


@dataclass
class Recipe:
    rate: float = 0.1  # of learning; 0.005 … 0.5
    rounds: int = 60  # trees; 20 … 400
    leaves: int = 8  # of a tree, at most; 2 … 32
    smallest_leaf: int = 10  # rows; 2 … 60
    l2: float = 0.1  # 0.001 … 30
    columns: float = 0.5  # share that each split looks at; 0.1 … 1
    noise_columns: int = 0  # columns of random numbers beside the others; 0 … 20


class WithNoise:
    """A model that sees further columns, which say nothing."""

    def __init__(self, model: Any, columns: int, seed: int) -> None:
        self.model, self.columns, self.rng = model, columns, np.random.default_rng(seed)

    def widened(self, x: np.ndarray) -> np.ndarray:
        return np.hstack([x, self.rng.normal(size=(len(x), self.columns))])

    def fit(self, x: np.ndarray, y: np.ndarray) -> None:
        self.model.fit(self.widened(x), y)

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        return self.model.predict_proba(self.widened(x))


def fitted(recipe: Recipe, seed: int) -> Any:
    model = HistGradientBoostingClassifier(
        learning_rate=recipe.rate,
        max_iter=recipe.rounds,
        max_leaf_nodes=recipe.leaves,
        min_samples_leaf=recipe.smallest_leaf,
        l2_regularization=recipe.l2,
        max_features=recipe.columns,
        random_state=seed,
    )
    return WithNoise(model, recipe.noise_columns, seed) if recipe.noise_columns else model


def main() -> None:
    parser = argparse.ArgumentParser(description="Fits the recipe and prints its scores.")
    parser.add_argument("--seed", type=int, default=0, help="of the model (default 0)")
    seed, recipe = parser.parse_args().seed, Recipe()
    began = time.monotonic()
    scores = score(lambda: fitted(recipe, seed))
    print("---")
    for name, value in scores.items():
        print(f"{name}: {value:.6f}")
    print(f"training_seconds: {time.monotonic() - began:.1f}")


if __name__ == "__main__":
    main()
