"""Which commit's weights are taken home, and whether they are those that were scored. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from search.core.seeds import purpose_of
from search.core.types import Decision, Outcome, SearchError, UsageError, short
from search.report.search_records import SearchRecords

MOST_SEEDS = 8  # of an ensemble
SAME_ON_CPU = 1e-3  # largest difference of a probability, of the same weights on two CPUs
SAME_ON_GPU, SAME_ON_AVERAGE = 0.05, 0.005  # on a GPU convolutions are rounded to ten bits


@dataclass(frozen=True)
class Chosen:
    """A commit, and its trials whose weights are taken. recommended: whether the search recommends it."""

    decision: Decision
    trials: tuple[Outcome, ...]
    recommended: bool

    @property
    def seeds(self) -> list[int]:
        return [one.seed for one in self.trials]


def choose(
    records: SearchRecords, has_weights: Callable[[str], bool], commit: str | None, seed: int | None, ensemble: bool
) -> Chosen:
    """What to take home: by default what is recommended, with the first seed that ran; no score chooses the seed.

    has_weights: by a trial's name. Raises UsageError for a commit or a seed that is not there, SearchError if there are
    no weights.
    """
    found = records.recommended
    if found is None:
        raise SearchError("there is no baseline yet: nothing can be exported")
    wanted = commit or found["commit"]
    decisions = [one for one in records.decisions if one.commit.startswith(wanted)]
    if not decisions or len({one.commit for one in decisions}) > 1:
        raise UsageError(f"--commit {wanted}: {'several experiments' if decisions else 'no experiment'} of this search")
    decision = decisions[-1]
    base = records.settings.seed if records.settings else 0
    ran = [one for one in records.outcomes if one.experiment == decision.experiment and one.score is not None]
    kept = sorted((one for one in ran if has_weights(one.trial)), key=lambda one: (is_fresh(one, base), one.seed))
    if not kept:
        of = sorted({short(one.commit) for one in records.outcomes if has_weights(one.trial)})
        raise SearchError(
            f"no weights of {short(decision.commit)} are kept on this machine; there are those of "
            f"{', '.join(of) or 'none'}: name one with --commit"
        )
    if seed is not None:
        kept = [one for one in kept if one.seed == seed]
        if not kept:
            raise UsageError(f"--seed {seed}: no weights of {short(decision.commit)} with this seed")
    trials = tuple(kept[:MOST_SEEDS] if ensemble else kept[:1])
    return Chosen(decision, trials, short(decision.commit) == found["commit"])


def is_fresh(outcome: Outcome, base: int) -> bool:
    """Whether nothing was chosen by its seed."""
    return purpose_of(outcome.seed, base) is not None


def differs(here: np.ndarray, scored: np.ndarray, trials: Sequence[Outcome]) -> str:
    """Why (n, classes) probabilities of weights cannot be those that were scored; '' if they can."""
    gap = np.abs(here - scored)
    on_cpu = all(one.machine == "cpu" for one in trials)
    most, mean = (SAME_ON_CPU, SAME_ON_CPU) if on_cpu else (SAME_ON_GPU, SAME_ON_AVERAGE)
    if gap.max(initial=0.0) <= most and (not gap.size or gap.mean() <= mean):
        return ""
    return (
        f"the weights that are kept give other probabilities than were scored (by up to {gap.max():.4f}, "
        f"{gap.mean():.4f} on average): they are not taken home"
    )


def weights_names(count: int) -> list[str]:
    """Of the files that weights are taken home in, one for each seed."""
    return ["model.safetensors"] if count == 1 else [f"model-{number}.safetensors" for number in range(count)]
