"""The table, its folds, and the metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import StratifiedKFold

FOLDS = 5


def table() -> tuple[np.ndarray, np.ndarray]:
    """(rows, columns) of measurements, and whether each is benign."""
    found = load_breast_cancer()
    return found.data, found.target


def score(make: Callable[[], Any]) -> dict[str, float]:
    """oof_auc and oof_logloss of a model: every row is predicted by one that was fitted without it."""
    x, y = table()
    given = np.zeros(len(y))
    for train, held_out in StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(x, y):
        model = make()
        model.fit(x[train], y[train])
        given[held_out] = model.predict_proba(x[held_out])[:, 1]
    return {"oof_auc": float(roc_auc_score(y, given)), "oof_logloss": float(log_loss(y, given.clip(1e-9, 1 - 1e-9)))}


if __name__ == "__main__":
    x, y = table()
    print(f"{len(y)} rows, {x.shape[1]} columns, {y.mean():.1%} benign")
