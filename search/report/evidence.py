"""How far rows can be believed: seeds, spread, estimates, screening rates, and paired probabilities. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import stdev
from typing import Any

import numpy as np

from search.records.results_tsv import Key, key_of

RESAMPLES = 2000
METHOD = (
    "share of 2000 resamples of the photos and of the seeds, both at once, in which it is better, ties half "
    "(Owen, 'The pigeonhole bootstrap', 2007)"
)
RATES = ("sensitivity", "specificity", "balanced_accuracy", "auroc", "average_precision", "calibration_error")


@dataclass(frozen=True)
class Evidence:
    """What a search recorded about one row.

    scores: bin_acc by seed. correct: by seed, which of the validation photos were told rightly infected or not, as
    Outcome.correct has it. estimate: of the true bin_acc, corrected for having been chosen. rates: of RATES.
    """

    scores: dict[int, float] = field(default_factory=dict)
    correct: dict[int, str] = field(default_factory=dict)
    estimate: float | None = None
    rates: dict[str, float] = field(default_factory=dict)


def unpacked(bits: str, photos: int) -> np.ndarray:
    """Outcome.correct as (photos,) of 0 and 1."""
    return np.unpackbits(np.frombuffer(bytes.fromhex(bits), np.uint8))[:photos].astype(float)


def differences(one: Mapping[int, str], other: Mapping[int, str], photos: int) -> np.ndarray | None:
    """(seeds, photos): what one had right and the other had not, less the reverse, over the seeds that both ran; with
    none in common, over the means of each side's seeds. None where a side has none."""
    shared = sorted(set(one) & set(other))
    if shared:
        return np.array([unpacked(one[seed], photos) - unpacked(other[seed], photos) for seed in shared])
    if not one or not other:
        return None
    means = [np.mean([unpacked(bits, photos) for bits in side.values()], axis=0) for side in (one, other)]
    return (means[0] - means[1])[None]


def resampled_means(values: np.ndarray, resamples: int = RESAMPLES) -> np.ndarray:
    """The mean of (seeds, photos) values, (resamples,), with rows and columns drawn anew, each with replacement; the
    same every time. Owen, "The pigeonhole bootstrap", Annals of Applied Statistics (2007).
    """
    rng = np.random.default_rng(0)
    of_seeds, of_photos = (rng.multinomial(n, np.full(n, 1 / n), resamples) for n in values.shape)
    return np.asarray(np.einsum("rs,sp,rp->r", of_seeds, values, of_photos) / values.size)


def probability_better(one: Mapping[int, str], other: Mapping[int, str], photos: int) -> float | None:
    """That one has the higher bin_acc on photos and seeds like these, ties half; None where that is not known."""
    values = differences(one, other, photos)
    if values is None or photos == 0:
        return None
    means = resampled_means(values)
    return round(float((means > 0).mean() + 0.5 * (means == 0).mean()), 4)


def shown(evidence: Evidence) -> dict[str, Any]:
    """Evidence as JSON, to stand beside a row; what is not known is None."""
    scores = list(evidence.scores.values())
    return {
        "seeds": len(scores) or None,
        "spread_bin_acc": round(stdev(scores), 6) if len(scores) > 1 else None,
        "estimate_bin_acc": evidence.estimate,
        **{name: evidence.rates.get(name) for name in RATES},
    }


def add_evidence(
    analysis: dict[str, Any], known: Mapping[Key, Evidence], photos: int | None, spent: Mapping[str, Any] | None
) -> dict[str, Any]:
    """frontier.analyse's content with what is known of its rows.

    photos: how many were scored, where that is known. spent: what search.audit recorded, where the test photos were
    opened.
    """
    none = Evidence()

    def of(row: Mapping[str, Any]) -> Evidence:
        return known.get(key_of(row["commit"], row["description"]), none)

    def with_evidence(row: dict[str, Any] | None) -> dict[str, Any] | None:
        return None if row is None else {**row, **shown(of(row))}

    frontier: list[dict[str, Any]] = []
    noise, photo = analysis["noise_bin_acc"], 1 / photos if photos else None
    for row, before in zip(analysis["frontier"], [None, *analysis["frontier"]], strict=False):
        gain = row["gain_bin_acc"]
        frontier.append(
            {
                **row,
                **shown(of(row)),
                "probability_better": probability_better(of(row).correct, of(before).correct, photos or 0)
                if before
                else None,
                "gain_below_noise": None if noise is None or gain is None else abs(gain) < noise,
                "gain_below_one_photo": None if photo is None or gain is None else abs(gain) < photo,
            }
        )
    return analysis | {
        "current_best": with_evidence(analysis["current_best"]),
        "baseline": with_evidence(analysis["baseline"]),
        "best_mc_acc_side_run": with_evidence(analysis["best_mc_acc_side_run"]),
        "near_misses": [with_evidence(row) for row in analysis["near_misses"]],
        "frontier": frontier,
        "probability_method": METHOD,
        "validation_photos": photos,
        "one_photo_bin_acc": None if photo is None else round(photo, 6),
        "test_opened": dict(spent) if spent else None,
    }


def believed(row: Mapping[str, Any]) -> str:
    """What is known of a row in a few words, for a brief; '' where nothing is."""
    words = [
        f"{name} {row[key]:.2f}"
        for name, key in (("sens", "sensitivity"), ("spec", "specificity"))
        if row.get(key) is not None
    ]
    if (row.get("seeds") or 0) > 1:
        words.append(f"{row['seeds']} seeds ±{row['spread_bin_acc']:.4f}")
    if row.get("estimate_bin_acc") is not None:
        words.append(f"estimate {row['estimate_bin_acc']:.4f}")
    if row.get("probability_better") is not None:
        words.append(f"better than the one before with {row['probability_better']:.0%}")
    if row.get("gain_below_one_photo"):
        words.append("gain below one photo")
    elif row.get("gain_below_noise"):
        words.append("gain below the noise")
    return ", ".join(words)
