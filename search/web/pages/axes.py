"""What was tried on each axis, and how much each one matters, by Optuna's own storage of the search."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna

from search.web.pages import charts
from search.web.pages.charts import Axis
from search.web.pages.source import PageSource

FEWEST = 12  # points that say anything about importance
MOST_FOR_IMPORTANCE = 1500  # the latest: it takes seconds
MOST_AXES = 10  # of the parallel coordinates, the most important
WIDE = 20.0  # from this ratio on, a range of positive numbers is shown by its logarithm


@dataclass(frozen=True)
class Tried:
    """One point and its score, higher is better. point: by axis. kept: whether its experiment is an incumbent."""

    point: dict[str, Any]
    score: float
    kept: bool


class AxesPage:
    """What was tried, read when it is asked for; remembered while the file is as it was."""

    def __init__(self, source: PageSource) -> None:
        self.source = source
        self._mark: object = None
        self._shown: dict[str, Any] = {}

    def shown(self) -> dict[str, Any]:
        """For its template. It may take seconds."""
        path = self.source.paths.study
        try:
            mark: object = (path.stat().st_mtime_ns, path.stat().st_size, len(self.source.records.frontier))
        except OSError:
            mark = None
        if mark != self._mark or not self._shown:
            self._mark, self._shown = mark, axes_of(self.source, mark is not None)
        return self._shown


def axes_of(source: PageSource, is_there: bool) -> dict[str, Any]:
    effects = source.summary.get("effects") or []
    shown: dict[str, Any] = {"effects": effects, "axes": [], "parallel": None, "importance": [], "codes": 0, "tried": 0}
    studies = studies_of(source.paths.study) if is_there else []
    if not studies:
        return shown
    study = max(studies, key=lambda one: len(one.trials))
    frontier = {one.experiment for one in source.records.frontier}
    done = [one for one in study.trials if one.state is optuna.trial.TrialState.COMPLETE and one.value is not None]
    tried = [Tried(one.params, float(one.value or 0.0), one.user_attrs.get("experiment") in frontier) for one in done]
    importance = importance_of(study)
    names = sorted({name for one in tried for name in one.point}, key=lambda name: -importance.get(name, 0.0))
    task = source.task
    for name in names:
        column = column_of(name, [one.point.get(name) for one in tried])
        points = [
            (place, task.metric.turned(one.score), "keep" if one.kept else "discard")
            for place, one in zip(column.places, tried, strict=True)
            if place is not None
        ]
        said = f"{task.metric.name} of {len(points)} trials by {name}, from {column.low} to {column.high}"
        shown["axes"].append({"name": name, "chart": charts.scatter(points, column.low, column.high, said)})
    columns = [column_of(name, [one.point.get(name) for one in tried]) for name in names[:MOST_AXES]]
    if len(columns) > 1 and len(tried) > 1:
        said = f"{len(tried)} trials as lines over {len(columns)} axes; the best are drawn last."
        shown["parallel"] = charts.parallel(columns, worth_of([one.score for one in tried]), said)
    shown["importance"] = [
        {"name": name, "share": value, "percent": round(100 * value)}
        for name, value in sorted(importance.items(), key=lambda item: -item[1])
    ]
    return shown | {"codes": len(studies), "tried": len(tried)}


def studies_of(path: Path) -> list[optuna.Study]:
    """Those in a search's storage, one for each code; none if it cannot be read now."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        storage = optuna.storages.RDBStorage(
            f"sqlite:///{path}", skip_compatibility_check=True, skip_table_creation=True
        )
        return [optuna.load_study(study_name=one.study_name, storage=storage) for one in storage.get_all_studies()]
    except Exception:  # SQLite's, SQLAlchemy's or Optuna's own: it is being written, torn, or of another version
        return []


def importance_of(study: optuna.Study) -> dict[str, float]:
    """The share of each axis, by Optuna's own default evaluator; empty if there is too little to say."""
    done = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    if len(done) < FEWEST:
        return {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            some = optuna.create_study(direction="maximize")
            some.add_trials(done[-MOST_FOR_IMPORTANCE:])
            return {name: float(share) for name, share in optuna.importance.get_param_importances(some).items()}
    except (ValueError, RuntimeError, ImportError):  # no axis varies in all of them, or all scores are equal
        return {}


def column_of(name: str, values: Sequence[Any]) -> Axis:
    """Where values lie on one axis: numbers by their size, wide ranges by their logarithm, words in their order."""
    known = [value for value in values if value is not None]
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in known) and known:
        low, high = min(known), max(known)
        is_wide = low > 0 and high / low >= WIDE
        scale = math.log if is_wide else float
        span = (scale(high) - scale(low)) or 1.0
        places = [None if value is None else (scale(value) - scale(low)) / span for value in values]
        return Axis(name, places, f"{low:.4g}", f"{high:.4g}")
    words = sorted({str(value) for value in known})
    last = max(len(words) - 1, 1)
    places = [None if value is None else words.index(str(value)) / last for value in values]
    return Axis(name, places, words[0] if words else "", words[-1] if words else "")


def worth_of(scores: Sequence[float]) -> list[float]:
    """Each score's rank, 0…1, 1 for the best."""
    order = sorted(range(len(scores)), key=lambda place: scores[place])
    ranks = [0.0] * len(scores)
    for rank, place in enumerate(order):
        ranks[place] = rank / max(len(scores) - 1, 1)
    return ranks
