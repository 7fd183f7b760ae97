"""What the sealed test images say of the incumbent and the baseline: an audit, for programs and for people."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from search.core.state import State
from search.core.task import Task
from search.core.types import Decision, Outcome, Purpose, SearchError, short
from search.decide.proof import fresh_of, recommended, sides_to_verify
from search.decide.rules import mean_rates
from search.report.evidence import paired, resampled_means
from search.task.screening.rates import rightly_told, screen
from search.task.screening.words import NEGATIVE, POSITIVE
from search.trial import sealed
from search.trial.scorer import Labels

FLIPS = 10_000
POWER = 1.959964 + 0.841621  # of a two-sided test at 5 % that finds four of five


def sums_of_groups(of_photos: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """(groups,) sums of (n,) values; groups: (n,), the same for photos that belong together, as one patient's do."""
    return np.bincount(np.unique(groups, return_inverse=True)[1], of_photos)


def permutation_p(of_photos: np.ndarray, groups: np.ndarray) -> float:
    """Of a two-sided paired randomisation test (Fisher, 1935): the signs of the groups' differences are flipped at
    random, 10,000 times; the same every time. of_photos: (n,), each photo's difference, the mean over seeds."""
    of_groups = sums_of_groups(of_photos, groups)
    seen = abs(of_groups.sum())
    signs = np.random.default_rng(0).integers(0, 2, (FLIPS, len(of_groups)), dtype=np.int8) * 2 - 1
    return float(((np.abs(signs @ of_groups) >= seen - 1e-12).sum() + 1) / (FLIPS + 1))


def smallest_gain(of_photos: np.ndarray, groups: np.ndarray, score: float) -> float:
    """The gain in the primary metric that a paired test on so many photos finds four times in five, two-sided at 5 %.

    From the spread of the groups' differences; if there are none, from that of two independent models as good.
    """
    expected = of_photos.mean() * sums_of_groups(np.ones_like(of_photos), groups)
    spread = float(np.sqrt(((sums_of_groups(of_photos, groups) - expected) ** 2).sum()))
    spread = spread or math.sqrt(2 * score * (1 - score) * len(of_photos))
    return POWER * spread / len(of_photos)


class SideResult:
    """One of the two sides, with what its seeds gave. outcomes: of the seeds that it is judged by."""

    def __init__(
        self, task: Task, outcomes: Sequence[Outcome], decision: Decision, folder: Path, labels: Labels
    ) -> None:
        self.metric = task.metric
        self.commit = short(decision.commit)
        self.description = decision.description
        self.test: dict[int, np.ndarray] = {}  # by seed: rightly classified or not
        validation, metrics = [], []
        for outcome in outcomes:
            kept = sealed.read(folder, outcome.trial)
            if kept is None:
                continue
            self.test[outcome.seed] = rightly_told(kept[1], labels.test, labels.classes).astype(float)
            validation.append(float(rightly_told(kept[0], labels.validation, labels.classes).mean()))
            metrics.append(screen(kept[1], labels.test, labels.test_groups, labels.classes))
        if not self.test:
            raise SearchError(
                f"the sealed results of {self.commit} are not in {folder}, where the search was to leave them: nothing "
                "can be opened"
            )
        self.test_score = float(np.mean([right.mean() for right in self.test.values()]))
        self.validation_score = float(np.mean(validation))
        self.rates = mean_rates(task, metrics)

    def as_json(self) -> dict[str, Any]:
        return {
            "commit": self.commit,
            "description": self.description,
            "seeds": len(self.test),
            f"test_{self.metric.name}": round(self.test_score, 6),
            f"validation_{self.metric.name}": round(self.validation_score, 6),
            "validation_above_test": round(self.validation_score - self.test_score, 6),
            "test": self.rates,
        }


def judged_by(state: State, sides: Sequence[int]) -> tuple[str, list[list[Outcome]]]:
    """(which seeds, in words; of each side, their outcomes): those of search.verify if all sides have some, else all
    fresh ones. Raises SearchError if there are none."""
    for words, purpose in (("verification seeds", Purpose.VERIFY), ("fresh seeds", None)):
        found = [fresh_of(state, number, purpose) for number in sides]
        if all(found):
            return words, found
    tag = state.settings.tag
    raise SearchError(
        f"{tag} has no fresh seeds yet, and those that it was chosen by flatter what was chosen: run "
        f"python -m search.verify {tag} first"
    )


def opened(state: State, folder: Path, labels: Labels) -> dict[str, Any]:
    """What the test photos say of the baseline, and of what is recommended, or of the incumbent if that is the
    baseline, as JSON.

    Raises SearchError if sealed results are gone.
    """
    if state.incumbent is None:
        raise SearchError("there is no baseline yet: nothing to open the test photos for")
    found, numbers = recommended(state), [*sides_to_verify(state), 0][:2]
    assert found is not None
    seeds, outcomes = judged_by(state, numbers)
    incumbent, baseline = (
        SideResult(state.settings.task, side, state.verdicts[number], folder, labels)
        for side, number in zip(outcomes, numbers, strict=True)
    )
    values = paired(incumbent.test, baseline.test)
    assert values is not None  # each side has a seed, or it would have raised
    shared = set(incumbent.test) & set(baseline.test)
    of_photos = values.mean(0)
    groups = np.arange(len(of_photos)) if labels.test_groups is None else labels.test_groups
    low, high = np.percentile(resampled_means(values, groups), [2.5, 97.5])
    positive = labels.classes.is_positive(labels.test)
    return {
        "opened": time.strftime("%Y-%m-%d %H:%M:%S"),
        "metric": state.settings.task.metric.name,
        "items": state.settings.task.items,
        "test_photos": len(labels.test),
        "test_groups": len(set(groups.tolist())),
        f"test_{POSITIVE}": int(positive.sum()),
        f"{NEGATIVE}_share": round(float((~positive).mean()), 6),
        "judged_by": seeds,
        "recommended": short(found.commit),
        "incumbent": incumbent.as_json(),
        "baseline": baseline.as_json(),
        "gain": round(float(of_photos.mean()), 6),
        "gain_interval": [round(float(low), 6), round(float(high), 6)],
        "p_value": round(permutation_p(of_photos, groups), 5),
        "shared_seeds": len(shared),
        "smallest_gain": round(smallest_gain(of_photos, groups, incumbent.test_score), 6),
        "experiments": sum(experiment.number != 0 for experiment in state.experiments.values()),
        "trials": len(state.outcomes),
    }


def as_text(found: dict[str, Any]) -> str:
    """The audit for people."""
    metric = found["metric"]
    together = found["test_groups"] < found["test_photos"]
    of_groups = f" in {found['test_groups']} groups" if together else ""
    lines = [
        f"# Audit of {found['tag']}, opened on {found['opened']}",
        "",
        f"{found['test_photos']} test {found['items']}{of_groups}, {found[f'test_{POSITIVE}']} {POSITIVE}; no "
        f"trial was given their labels, and nothing was chosen by them over {found['experiments']} experiments "
        f"({found['trials']} trials).",
        f'Always answering "{NEGATIVE.replace("_", " ")}" gets {found[f"{NEGATIVE}_share"]:.4f} there.',
        "",
    ]
    for name in ("baseline", "incumbent"):
        side = found[name]
        rates = ", ".join(f"{key.replace('_', ' ')} {value:.3f}" for key, value in side["test"].items())
        lines += [
            f"{name:9} `{side['commit']}` {metric} {side[f'test_{metric}']:.4f} on test, "
            f"{side[f'validation_{metric}']:.4f} on validation ({side['validation_above_test']:+.4f}), "
            f"{side['seeds']} seeds: {side['description']}",
            f"          {rates}",
        ]
    lines += ["", f"Recommended is {found['recommended']}; both sides are judged by {found['judged_by']}."]
    low, high = found["gain_interval"]
    over = f" over the {found['shared_seeds']} seeds that both ran" if found["shared_seeds"] else ""
    lines += [
        "",
        f"Gain on test{over}: {found['gain']:+.4f}, 95 % interval {low:+.4f} to {high:+.4f} (over photos and seeds; "
        f"Owen, 2007), p {found['p_value']:.4f} (paired randomisation test over {'groups' if together else 'photos'}).",
        f"So many photos can show a gain of {found['smallest_gain']:.4f} or more (four times in five, at 5 %).",
        "The test photos are spent for this search: what it finds from here on needs others.",
    ]
    return "\n".join(lines)
