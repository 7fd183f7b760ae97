"""What is believed of every experiment: an index that follows the state, and the posterior over what it knows. Pure."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean, median

import numpy as np

from search.core.seeds import purpose_of
from search.core.sources import Sources
from search.core.state import State
from search.core.types import Experiment, Outcome, StoppedEarly, TrialKey
from search.decide.points.sampler import columns_of, encoded
from search.decide.rules import NOISE_WEIGHT, PooledNoise, guess_of_noise, guess_of_side_noise, scored, why_out
from search.decide.surrogate import Guess, Hyper, Lead, Nodes, Surrogate, fitted, worth_of_a_run

LARGEST_HISTORY = 300  # rows that the posterior knows, the latest; the baseline and kept ones are always among them
MOST_KEPT = 32  # of those, the latest
FITTED_TO = 110  # rows that the hyperparameters are fitted to, the latest
LONGEST_LINE = 32  # ancestors of a row, the latest
OUTLIER = 2.5  # deviations below the middle beyond which a score counts as no worse
FIRST_FITS = 6  # outcomes at which the hyperparameters are first fitted; then after each tenth more

NEW_POINT = 0.5  # share of the smooth part's variance by which a new point may differ from the incumbent
NO_KIND = -1
NO_OWN = -1  # of a node whose own effect is on its line, or that has none
UNRELATED = 1e3  # times the edits between two codes: neither says anything of the other's recipes
BETWEEN = 0.5  # where an outcome stands that is not counted: behind the one before it
NOT_BEGUN = 10**9  # added to a point that is no experiment yet, to tell it from all others

RowKey = tuple[int, str]  # experiment, kind of slot


def checkpoint(outcomes: int) -> int:
    """The number of outcomes at which the hyperparameters were fitted last; 0: never."""
    at = FIRST_FITS
    while at + max(at // 10, 4) <= outcomes:
        at += max(at // 10, 4)
    return at if outcomes >= FIRST_FITS else 0


class Belief:
    """Follows a state; `followed` brings it up to date.

    noise: pooled over all experiments' seeds, each kind of slot apart. borrowing: whether a code is known by those that
    it is an edit of. The hyperparameters are fitted to what there was at checkpoints, so that a resumed
    search believes what it would have.
    """

    def __init__(self, state: State, sources: Sources) -> None:
        self.state, self.sources = state, sources
        self.noise, self._secondary_noise = PooledNoise(), PooledNoise()
        self.version, self.borrowing = 0, True
        self.rows: dict[RowKey, tuple[float, ...]] = {}  # scores of the primary metric, by seed
        self._expected: dict[RowKey, StoppedEarly] = {}  # in place of the score of a trial that was stopped early
        self._secondary: dict[RowKey, tuple[float, ...]] = {}
        self._order: list[RowKey] = []  # as their first outcomes came
        self._came: list[int] = []  # how many outcomes there were by then
        self.kinds: dict[str, int] = {}  # of slot; that of the first row is none; the others' levels are beside its
        self._positions: dict[TrialKey, float] = {}  # how many outcomes there were with this one
        self._read = self._kept = 0
        self._taken = 0  # outcomes that choose
        self._number_of: dict[str, int] = {}  # commit that was kept -> its experiment
        self._incumbents: set[int] = set()  # that are or were
        self._lines: dict[int, tuple[int, ...]] = {0: ()}  # experiment -> ancestors and itself, without the baseline
        self._chains: dict[str, tuple[str, ...]] = {}  # commit -> its code and those before it
        self._fits: dict[tuple[int, str], Hyper] = {}
        self._known: tuple[tuple[int, str], Surrogate] | None = None

    # --- following ---

    def followed(self) -> Belief:
        """This, with all that the state has by now."""
        state = self.state
        while self._kept < len(state.kept):
            decision = state.kept[self._kept]
            self._number_of.setdefault(decision.commit, decision.experiment)
            self._incumbents.add(decision.experiment)
            self._kept += 1
            self.version += 1
        while self._read < len(state.ended):
            self._take(state.ended[self._read])
            self._read += 1
        return self

    def _take(self, outcome: Outcome) -> None:
        if outcome.crashed or purpose_of(outcome.seed, self.state.settings.seed) is not None:
            self._positions[outcome.key] = self._taken + BETWEEN
            return
        self.version += 1
        self._taken += 1
        self._positions[outcome.key] = self._taken
        key = outcome.experiment, outcome.machine
        runs = scored(self.state, *key)
        if key not in self.rows:
            self._order.append(key)
            self._came.append(self._taken)
            self.kinds.setdefault(outcome.machine, len(self.kinds) - 1)
        if outcome.stopped is not None:
            self._expected[key] = outcome.stopped
        parts = (
            (self.noise, self.rows, [one.score.primary for one in runs if one.score]),
            (self._secondary_noise, self._secondary, [one.score.secondary for one in runs if one.score]),
        )
        for pooled, rows, values in parts:
            pooled.add(rows.get(key, ()), -1)
            rows[key] = tuple(values)
            pooled.add(rows[key])

    def noise_of(self) -> float:
        """Standard deviation of one run."""
        return self.noise.deviation(guess_of_noise(self.state))

    def noise_of_tie_breaker(self) -> float:
        """Likewise, of what breaks ties."""
        return self._secondary_noise.deviation(guess_of_side_noise(self.state))

    # --- experiments as nodes ---

    def line(self, number: int) -> tuple[int, ...]:
        """The experiments whose effects are in one, oldest first: those that it descends from, but for the baseline,
        and itself; for a change that is tried again, the one that tried it first."""
        if number not in self._lines:
            parent, origin = self.parent_of(number), self.state.experiments[number].origin
            before = self.line(parent) if parent < number else ()
            self._lines[number] = (*before, number if origin is None else origin)
        return self._lines[number]

    def chain(self, commit: str) -> tuple[str, ...]:
        """The code of a commit and those that it is an edit of, newest first."""
        if commit not in self._chains:
            step = self.sources.edit_before(commit)
            before = self.chain(step[0]) if step else ()
            self._chains[commit] = (self.sources.code(commit), *before)
        return self._chains[commit]

    def parent_of(self, number: int) -> int:
        """The experiment, an incumbent then, that one began from."""
        return self._number_of.get(self.state.experiments[number].parent, 0)

    # --- the posterior ---

    def recent(self, rows: Sequence[RowKey], most: int) -> list[RowKey]:
        """Of rows in order, the latest, with those of the baseline and of the latest incumbents."""
        if len(rows) <= most:
            return list(rows)
        present = [one.experiment for one in self.state.frontier[-2:]]
        kept = {0, *present, *(decision.experiment for decision in self.state.kept[-MOST_KEPT:])}
        cut = len(rows) - most
        return [key for key in rows[:cut] if key[0] in kept] + list(rows[cut:])

    def surrogate(self) -> Surrogate:
        """The posterior, in the space of the incumbent. There must be a row."""
        self.followed()
        commit = self.state.incumbent_commit
        key = self.version, commit
        if self._known is None or self._known[0] != key:
            rows = [key for key in self.recent(self._order, LARGEST_HISTORY) if not self._is_out(key[0])]
            self.layout = Layout(self, rows, commit)
            nodes = self.layout.of_rows(rows)
            y, runs = self._measured(rows)
            self._known = key, Surrogate(nodes, y, runs, self._hyper(commit), self.layout.apart)
        return self._known[1]

    def _is_out(self, number: int, at: int | None = None) -> bool:
        """Whether an experiment could not be kept: it says nothing of others. at: by its outcomes alone, after so many
        in all, so that it is the same whenever it is asked."""
        if number == 0 or (at is None and number in self._incumbents):
            return False
        outcomes = self.state.outcomes_of(number)
        if at is not None:
            outcomes = [one for one in outcomes if self._positions[one.key] <= at]
        return bool(why_out(self.state, number, outcomes))

    def _measured(self, rows: Sequence[RowKey]) -> tuple[np.ndarray, np.ndarray]:
        noise = self.noise_of()
        y, runs = self._means(rows, [self.rows[key] for key in rows], noise)
        return clipped(y, noise), runs

    def _means(
        self, rows: Sequence[RowKey], scores: Sequence[Sequence[float]], noise: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """The mean score of each row, and how many runs it is worth: what a trial would have scored that was stopped
        early is known less well than a run tells. scores: of each row, by seed. noise: of one run."""
        y, runs = [], []
        for key, values in zip(rows, scores, strict=True):
            stopped = None if values else self._expected[key]
            y.append(stopped.expected if stopped else fmean(values))
            runs.append((noise / max(stopped.deviation, noise)) ** 2 if stopped else float(len(values)))
        return np.array(y), np.array(runs)

    def _hyper(self, commit: str) -> Hyper:
        """Fitted to what there was at the last checkpoint."""
        at = checkpoint(self._taken)
        key = at, self.sources.code(commit)
        if key not in self._fits:
            self._fits.clear()
            rows = self._order[: bisect_right(self._came, at)] or self._order[:1]
            rows = [key for key in rows[-FITTED_TO:] if not self._is_out(key[0], at)] or self._order[:1]
            scores = self._scores_at(rows, max(at, self._came[0]))
            pooled = PooledNoise()
            for values in scores:
                pooled.add(values)
            noise = pooled.deviation(guess_of_noise(self.state))
            y, runs = self._means(rows, scores, noise)
            spread = max(float(np.std(clipped(y, noise))), 0.5 * noise)
            guess = Guess(noise, spread, NOISE_WEIGHT + pooled.freedom)
            layout = Layout(self, rows, commit)
            nodes, y = layout.of_rows(rows), clipped(y, guess.noise)
            is_enough = at and len(rows) > 3
            self._fits[key] = (
                fitted(nodes, y, runs, layout.apart, guess) if is_enough else guess.hyper(nodes.x.shape[1])
            )
        return self._fits[key]

    def _scores_at(self, rows: Sequence[RowKey], at: int) -> list[list[float]]:
        """What the seeds of rows had given after so many outcomes."""
        found = []
        for number, machine in rows:
            runs = [one for one in scored(self.state, number, machine) if self._positions[one.key] <= at]
            found.append([one.score.primary for one in runs if one.score])
        return found

    def _place(self, number: int) -> Nodes | None:
        """An experiment as a node, on no kind of slot in particular; None if it has no row that is known."""
        surrogate = self.surrogate()
        at = self.layout.places.get(number)
        return None if at is None else surrogate.nodes.at([at]).on_no_kind()

    def lead(self, one: int, other: int) -> Lead:
        """By how much one experiment is better than another. Nothing is known of one without a score."""
        a, b = self._place(one), self._place(other)
        if a is None or b is None or one == other:
            return Lead(0.0, self.noise_of())
        found = self.surrogate().beside(a, b)
        return Lead(float(found.mean[0]), math.sqrt(float(found.variance[0])))

    def estimate(self, number: int) -> float | None:
        """Of an experiment's true score, in the primary metric."""
        node = self._place(number)
        if node is None:
            return None
        return float(self.surrogate().mean(node)[0])

    def worth_of_a_seed(self, one: int, other: int) -> float:
        """Of one more seed of `one`, by the knowledge gradient, where the choice is between it and `other`."""
        a, b = self._place(one), self._place(other)
        if a is None or b is None:
            return 0.0
        surrogate = self.surrogate()
        return float(surrogate.beside(a, b).worths(surrogate.hyper.noise)[0])

    def worth_of_a_new_point(self) -> float:
        """Likewise of the first run of a point like those that were tried, beside the incumbent."""
        hyper = self.surrogate().hyper
        variance = hyper.rough**2 + NEW_POINT * hyper.smooth**2
        mean, own = np.array([hyper.effect]), np.array([variance])
        return float(worth_of_a_run(mean, own, own, hyper.noise)[0])

    def noise_in_use(self) -> float:
        """Standard deviation of one run, as the posterior has it."""
        return self.surrogate().hyper.noise


class Layout:
    """How experiments become nodes beside those of some rows, in the space of a commit.

    keys: of the rows. places: experiment -> its first row. apart: edits between each two codes.
    """

    def __init__(self, belief: Belief, keys: Sequence[RowKey], commit: str) -> None:
        self.belief, self.keys, self.commit = belief, keys, commit
        self.places = {number: at for at, (number, _) in reversed(list(enumerate(keys)))}
        sources = belief.sources
        self.space, self.default = sources.space(commit), sources.recipe(commit)
        present = belief.state.incumbent
        lines = [belief.line(number)[-LONGEST_LINE:-1] for number, _ in keys]
        lines += [belief.line(present.experiment)[-LONGEST_LINE:]] if present else []
        columns = sorted({number for line in lines for number in line})
        self._columns = {number: at for at, number in enumerate(columns)}
        chains = [belief.chain(commit), *(self._chain(belief.state.experiments[number]) for number, _ in keys)]
        self._codes = {chain: at for at, chain in enumerate(dict.fromkeys(chains))}
        self.apart = edits_between(list(self._codes)) * (1.0 if belief.borrowing else UNRELATED)

    def _chain(self, experiment: Experiment) -> tuple[str, ...]:
        return self.belief.chain(experiment.commit or experiment.parent)

    def of_rows(self, keys: Sequence[RowKey]) -> Nodes:
        found = [self.belief.state.experiments[number] for number, _ in keys]
        kinds = self.belief.kinds
        return replace(self.of_experiments(found), kind=np.array([kinds[machine] for _, machine in keys], int))

    def of_experiments(self, experiments: Sequence[Experiment]) -> Nodes:
        """Those of a code that no row has count as of the commit's."""
        points = [self.belief.sources.point(one) for one in experiments]
        units = encoded(self.space, points, self.default)
        lines = [self.belief.line(one.number) for one in experiments]
        codes = [self._codes.get(self._chain(one), 0) for one in experiments]
        own = [NO_OWN if not line or line[-1] in self._columns else line[-1] for line in lines]
        return self._made(units, codes, lines, own)

    def of_points(self, units: np.ndarray, parent: int) -> Nodes:
        """Points that are no experiments yet, (n, axes) in units, of the commit's code, begun from an experiment."""
        line, count = (*self.belief.line(parent), NOT_BEGUN), len(units)
        made = self._made(units[:1], [0], [line], [NOT_BEGUN])
        return Nodes(
            columns_of(self.space, units),
            np.zeros(count, int),
            np.full(count, NO_KIND),
            np.repeat(made.line, count, axis=0),
            NOT_BEGUN + np.arange(count),
            np.full(count, made.depth[0]),
        )

    def _made(
        self, units: np.ndarray, codes: Sequence[int], lines: Sequence[tuple[int, ...]], own: Sequence[int]
    ) -> Nodes:
        on_line = np.zeros((len(units), len(self._columns)))
        for row, line in enumerate(lines):
            on_line[row, [self._columns[number] for number in line if number in self._columns]] = 1.0
        return Nodes(
            columns_of(self.space, units),
            np.array(codes, int),
            np.full(len(units), NO_KIND),
            on_line,
            np.array(own, int),
            np.array([len(line) for line in lines], float),
        )


def clipped(y: np.ndarray, noise: float) -> np.ndarray:
    """Scores, (n,); those far below the middle count as less far: a collapse says no more."""
    middle = median(y)
    reach = OUTLIER * max(1.4826 * median(np.abs(y - middle)), noise)
    return np.maximum(y, middle - reach)


def edits_between(chains: Sequence[tuple[str, ...]]) -> np.ndarray:
    """(codes, codes): edits between each two, through what both are edits of."""
    sets = [set(chain) for chain in chains]
    return np.array([[len(one ^ other) for other in sets] for one in sets], float)
