"""How well a model screens for infection, beyond accuracy: rates, curves, calibration, with intervals. Pure."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from prepare import FIVE_CLASSES, Classes
from search.task.resampling import drawn_with_groups
from search.task.screening.words import RATES_AT_THRESHOLD

Z = 1.959964  # of a 95 % interval
RESAMPLES = 400
BINS = 15


def screen(
    probabilities: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray | None = None,
    classes: Classes = FIVE_CLASSES,
) -> dict[str, Any]:
    """The screening metrics of (n, classes) probabilities against (n,) labels, as JSON values.

    groups: (n,), the same for photos that belong together, as one patient's do, which tell less than as many of others;
    None: each is by itself. A metric with an interval is [value, low, high], 95 %; it is None if it is unknown, as when
    no photo is infected. sensitivity, specificity: share_with_interval. balanced_accuracy, auroc, average_precision:
    the percentile bootstrap (Efron, 1979) over groups (Davison and Hinkley, 1997, 3.8). confusion: a square of counts,
    rows are the true classes. calibration_error: of the probability of infection, in 15 equal bins (Naeini et al.,
    2015). flagged: share of photos called infected; degenerate: all or none of them, which screens nothing.
    not_infected_share: the bin_acc of always answering "not infected".
    """
    infected = classes.is_positive(labels)
    chosen = probabilities.argmax(1)
    flagged = classes.is_positive(chosen)
    risk = risk_of(probabilities, classes)
    confusion = np.zeros((len(classes.names),) * 2, int)
    np.add.at(confusion, (labels, chosen), 1)
    groups = np.arange(len(labels)) if groups is None else groups
    weights = _resampling_weights(groups)
    return {
        "photos": len(labels),
        "infected": int(infected.sum()),
        **rates_of(flagged, infected, groups),
        "balanced_accuracy": _with_interval(balanced_accuracies(flagged, infected, weights)),
        "auroc": _with_interval(aurocs(risk, infected, weights)),
        "average_precision": _with_interval(average_precisions(risk, infected, weights)),
        "confusion": confusion.tolist(),
        "calibration_error": round(calibration_error(risk, infected), 6),
        "flagged": round(float(flagged.mean()), 6),
        "degenerate": bool(flagged.all() or not flagged.any()),
        "not_infected_share": round(float((~infected).mean()), 6),
    }


def screen_at_threshold(
    threshold: float, probabilities: np.ndarray, labels: np.ndarray, groups: np.ndarray | None, classes: Classes
) -> dict[str, Any]:
    """How (n, classes) probabilities screen if what has a risk of the threshold or more is flagged; as `screen`."""
    infected, flagged = classes.is_positive(labels), risk_of(probabilities, classes) >= threshold
    groups = np.arange(len(labels)) if groups is None else groups
    found = rates_of(flagged, infected, groups)
    return {"threshold": round(threshold, 6), **dict(zip(RATES_AT_THRESHOLD, found.values(), strict=True))}


def rates_of(flagged: np.ndarray, infected: np.ndarray, groups: np.ndarray) -> dict[str, list[float] | None]:
    """Sensitivity and specificity of (n,) answers, in this order, each as share_with_interval gives it."""
    return {
        "sensitivity": share_with_interval(flagged[infected], groups[infected]),
        "specificity": share_with_interval(~flagged[~infected], groups[~infected]),
    }


def best_threshold(risk: np.ndarray, infected: np.ndarray) -> float:
    """The threshold of the (n,) risk at which sensitivity and specificity are largest together (Youden, "Index for
    rating diagnostic tests", 1950); of equal ones the lowest, which misses least. It lies between two risks; 0.5 where
    all photos are infected, or none."""
    values = np.unique(risk)
    if infected.all() or not infected.any() or len(values) < 2:
        return 0.5
    thresholds = (values[1:] + values[:-1]) / 2
    flagged = risk >= thresholds[:, None]
    index = flagged[:, infected].mean(1) - flagged[:, ~infected].mean(1)
    return float(thresholds[index.argmax()])


def risk_of(probabilities: np.ndarray, classes: Classes) -> np.ndarray:
    """(n,) probability of the positive classes."""
    return np.asarray(probabilities[:, list(classes.positive)].astype(float).sum(1).clip(0.0, 1.0))


def rightly_told(probabilities: np.ndarray, labels: np.ndarray, classes: Classes = FIVE_CLASSES) -> np.ndarray:
    """(n,) of whether (n, classes) probabilities classify infected or not rightly."""
    return np.asarray(classes.is_positive(probabilities.argmax(1)) == classes.is_positive(labels))


def share_with_interval(hits: np.ndarray, groups: np.ndarray) -> list[float] | None:
    """The share of (n,) hits with its 95 % interval; None of none. groups: (n,).

    Wilson's interval, of as many independent photos as tell what these do: n over the design effect of the groups (Rao
    and Scott, Biometrics 1992). Where all are hits, or none, there is no spread to see it by: each group counts as one.
    """
    if not len(hits):
        return None
    _, of_group = np.unique(groups, return_inverse=True)
    sizes, found = np.bincount(of_group), np.bincount(of_group, hits)
    count, share = len(sizes), float(hits.mean())
    if count == len(hits):
        return wilson(len(hits) * share, len(hits))
    if count == 1 or share in (0.0, 1.0):
        return wilson(count * share, count)
    variance = count / (count - 1) * float(((found - share * sizes) ** 2).sum()) / len(hits) ** 2
    effective = len(hits) / max(variance * len(hits) / (share * (1 - share)), 1.0)
    return wilson(effective * share, effective)


def wilson(hits: float, of: float) -> list[float]:
    """A share with Wilson's 95 % interval (1927)."""
    share = hits / of
    middle = (share + Z**2 / (2 * of)) / (1 + Z**2 / of)
    half = Z / (1 + Z**2 / of) * math.sqrt(share * (1 - share) / of + Z**2 / (4 * of**2))
    return [round(share, 6), round(max(middle - half, 0.0), 6), round(min(middle + half, 1.0), 6)]


def _resampling_weights(groups: np.ndarray) -> np.ndarray:
    """(1 + RESAMPLES, n): how often each photo is drawn, with its group; the first row draws each once. groups: (n,).
    The same every time."""
    return np.vstack([np.ones((1, len(groups))), drawn_with_groups(np.random.default_rng(0), groups, RESAMPLES)])


def _with_interval(values: np.ndarray) -> list[float] | None:
    """The first value, and the 95 % interval of the others."""
    if not np.isfinite(values[0]):
        return None
    low, high = np.nanpercentile(values[1:], [2.5, 97.5])
    return [round(float(number), 6) for number in (values[0], low, high)]


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)


def balanced_accuracies(flagged: np.ndarray, infected: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The mean of sensitivity and specificity, (r,), for (r, n) weights of the photos."""
    sensitivity = _ratio(weights @ (flagged & infected), weights @ infected)
    specificity = _ratio(weights @ (~flagged & ~infected), weights @ ~infected)
    return (sensitivity + specificity) / 2


def aurocs(risk: np.ndarray, infected: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The probability that an infected photo has more risk than another one, ties half, (r,), for (r, n) weights."""
    values, group = np.unique(risk, return_inverse=True)
    positive, negative = (_by_group(weights * chosen, group, len(values)) for chosen in (infected, ~infected))
    below = negative.cumsum(1) - negative / 2
    return _ratio((positive * below).sum(1), positive.sum(1) * negative.sum(1))


def average_precisions(risk: np.ndarray, infected: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The area under the steps of precision over recall, (r,), for (r, n) weights."""
    values, group = np.unique(-risk, return_inverse=True)
    positive, every = (_by_group(weights * chosen, group, len(values)) for chosen in (infected, np.ones(len(risk))))
    precision = _ratio(positive.cumsum(1), every.cumsum(1))
    return _ratio(np.nansum(positive * precision, axis=1), positive.sum(1))


def _by_group(weights: np.ndarray, group: np.ndarray, groups: int) -> np.ndarray:
    """Sums of (r, n) weights over photos of the same risk, (r, groups)."""
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(groups))
    return np.add.reduceat(weights[:, order], starts, axis=1)


def calibration_error(risk: np.ndarray, infected: np.ndarray) -> float:
    """The mean gap between the risk given and the share infected, over equal bins of risk, weighted by their photos."""
    bins = np.minimum((risk * BINS).astype(int), BINS - 1)
    gaps = [abs(risk[bins == n].sum() - infected[bins == n].sum()) for n in range(BINS)]
    return float(sum(gaps) / len(risk))
