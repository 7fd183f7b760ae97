"""How far rows can be believed: seeds, spread, estimates, rates, and paired probabilities. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import stdev
from typing import Any

import numpy as np

from search.core.task import Task
from search.core.types import Decision, short
from search.decide import proof
from search.decide.proof import Recommendation
from search.task.resampling import drawn_with_groups

RESAMPLES = 2000
METHOD = (
    "share of 2000 resamples of the photos, by groups, and of the seeds, both at once, in which it is better, ties "
    "half (Owen, 'The pigeonhole bootstrap', 2007)"
)


@dataclass(frozen=True)
class Evidence:
    """What a search recorded about one row.

    scores: of the primary metric, by seed. correct: by seed, which of the validation images it counts as right, as
    Outcome.correct has it. estimate: of the true score, corrected for having been chosen. rates: of Task.rates.
    """

    scores: Mapping[int, float] = field(default_factory=dict)
    correct: Mapping[int, str] = field(default_factory=dict)
    estimate: float | None = None
    rates: Mapping[str, float] = field(default_factory=dict)


def unpacked(bits: str, images: int) -> np.ndarray:
    """Outcome.correct as (images,) of 0 and 1."""
    return np.unpackbits(np.frombuffer(bytes.fromhex(bits), np.uint8))[:images].astype(float)


def paired(one: Mapping[int, np.ndarray], other: Mapping[int, np.ndarray]) -> np.ndarray | None:
    """(seeds, images): what one has of (images,) by seed beyond the other, over the seeds that both have; with none in
    common, over the means of each side's seeds. None if a side has none."""
    shared = sorted(set(one) & set(other))
    if shared:
        return np.array([one[seed] - other[seed] for seed in shared])
    if not one or not other:
        return None
    means = [np.mean(list(side.values()), axis=0) for side in (one, other)]
    return (means[0] - means[1])[None]


def resampled_means(values: np.ndarray, groups: np.ndarray, resamples: int = RESAMPLES) -> np.ndarray:
    """The mean of (seeds, images) values, (resamples,), with rows and columns drawn anew, each with replacement; the
    same every time. groups: (images,), the same for images that belong together, and are drawn together. Owen, "The
    pigeonhole bootstrap", Annals of Applied Statistics (2007).
    """
    rng = np.random.default_rng(0)
    of_seeds = rng.multinomial(len(values), np.full(len(values), 1 / len(values)), resamples)
    of_images = drawn_with_groups(rng, groups, resamples)
    return np.asarray(np.einsum("rs,sp,rp->r", of_seeds, values, of_images) / (len(values) * of_images.sum(1)))


def probability_better(
    one: Mapping[int, str], other: Mapping[int, str], images: int, groups: Sequence[int] = ()
) -> float | None:
    """That one has the better primary metric on images and seeds like these, ties half; None if that is not known.

    groups: as in resampled_means; none: each image is by itself.
    """
    sides = [{seed: unpacked(bits, images) for seed, bits in side.items()} for side in (one, other)]
    values = paired(sides[0], sides[1])
    if values is None or images == 0:
        return None
    means = resampled_means(values, np.array(groups) if len(groups) else np.arange(images))
    return round(float((means > 0).mean() + 0.5 * (means == 0).mean()), 4)


def shown(evidence: Evidence, task: Task) -> dict[str, Any]:
    """Evidence as JSON, to stand beside a row; what is not known is None."""
    scores, metric = list(evidence.scores.values()), task.metric
    return {
        "seeds": len(scores) or None,
        f"spread_{metric.name}": round(stdev(scores), metric.digits) if len(scores) > 1 else None,
        f"estimate_{metric.name}": None if evidence.estimate is None else metric.told(evidence.estimate),
        **{name: evidence.rates.get(name) for name in task.rates},
    }


def believed(row: Mapping[str, Any], task: Task) -> str:
    """What is known of a row in a few words, for a brief; '' if nothing is."""
    name, digits = task.metric.name, task.metric.shown_digits
    words = [task.rates_text({rate: row[rate]}) for rate in task.shown_rates if row.get(rate) is not None]
    if (row.get("seeds") or 0) > 1:
        words.append(f"{row['seeds']} seeds ±{row[f'spread_{name}']:.{digits}f}")
    if row.get(f"estimate_{name}") is not None:
        words.append(f"estimate {row[f'estimate_{name}']:.{digits}f}")
    if row.get("probability_better") is not None:
        words.append(f"better than the one before with {row['probability_better']:.0%}")
    if row.get(f"gain_below_one_{task.item or 'item'}"):
        words.append(f"gain below one {task.item or 'item'}")
    elif row.get("gain_below_noise"):
        words.append("gain below the noise")
    return ", ".join(words)


def recommendation_shown(found: Recommendation | None, incumbent: Decision | None, task: Task) -> dict[str, Any] | None:
    """A recommendation as JSON, for every place that shows it. Figures are the proof's, None where there is none; a
    gain above zero is for the better."""
    if found is None or incumbent is None:
        return None
    tested, gain = found.proof, None
    if tested is not None and tested.gain is not None and tested.low is not None and tested.high is not None:
        gain = [round(number, task.metric.digits) for number in (tested.gain, tested.low, tested.high)]
    return {
        "commit": short(found.commit),
        "description": found.description,
        "is_baseline": found.is_baseline,
        "shown_better": not found.is_baseline and found.proof is not None,
        "words": proof.in_words(found, incumbent, task),
        f"gain_{task.metric.name}": gain[0] if gain else None,
        "interval": gain[1:] if gain else None,
        "probability_better": tested.probability if tested else None,
        "p_value": tested.p_value if tested else None,
        "fresh_seeds": tested.seeds if tested else 0,
        "fresh_seeds_of_baseline": tested.baseline_seeds if tested else 0,
        "method": proof.METHOD,
    }
