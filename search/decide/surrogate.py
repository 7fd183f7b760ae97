"""One posterior over every experiment of a search: what its true score is, and what another would be. Pure.

An experiment's true score is that of the experiment it began from plus an effect: a smooth part, which follows from its
recipe, and a rough part of its own. So experiments along one line of descent share what their ancestors gained, and
those with like recipes share the smooth part: a Gaussian process with a Matérn 5/2 kernel and a length per axis
(Snoek, Larochelle and Adams, "Practical Bayesian Optimization of Machine Learning Algorithms", 2012) over recipes,
times a factor for each edit that lies between two codes (as in Swersky, Snoek and Adams, "Multi-Task Bayesian
Optimization", 2013). Each kind of slot has a level of its own. The deviations, lengths and the factor are fitted by
the marginal likelihood with weak priors (Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006,
chapter 5).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize

EFFECT = -0.6  # what an experiment is expected to gain, in units of the noise, before there are any
EFFECT_DOUBT = 0.2  # standard deviation of that expectation
LEVEL_DOUBT = 3.0  # standard deviation of the baseline's level, and of a kind of slot's, in units of the spread
ROUGH = 0.8  # expected deviation of the rough part, in units of the noise
SMOOTH = 1.5  # expected deviation of the smooth part, in units of the spread of all scores
LENGTH = 1.5  # expected, in units of an axis's range
DOUBT = (0.8, 1.0, 1.0)  # of the logarithms of these three
KINSHIP = 0.3  # expected distance of two codes that one edit lies between: they correlate by exp(-distance)
KINSHIP_DOUBT = 1.0
JITTER = 1e-8


@dataclass(frozen=True)
class Lead:
    """What is believed of the difference of two true scores."""

    mean: float
    deviation: float

    @property
    def probability(self) -> float:
        """That it is above zero."""
        return 0.5 * math.erfc(-self.mean / (self.deviation * math.sqrt(2)))

    def below(self, bound: float) -> float:
        """The probability that it is below a bound."""
        return 0.5 * math.erfc((self.mean - bound) / (self.deviation * math.sqrt(2)))


@dataclass(frozen=True)
class Nodes:
    """Experiments, or points that could become one, as arrays over n of them.

    x: (n, d), recipes in 0…1. code: (n,), a row of `apart`. kind: (n,), of slot; -1: none in particular. line: (n, m),
    1 where a kept experiment is the node or an ancestor of it. own: (n,), what tells nodes outside of those m apart; -1
    for one of them. depth: (n,), experiments between it and the baseline, itself counted.
    """

    x: np.ndarray
    code: np.ndarray
    kind: np.ndarray
    line: np.ndarray
    own: np.ndarray
    depth: np.ndarray

    def __len__(self) -> int:
        return len(self.own)

    def at(self, index: np.ndarray | list[int] | slice) -> Nodes:
        parts = (self.x, self.code, self.kind, self.line, self.own, self.depth)
        return Nodes(*(part[index] for part in parts))

    def on_no_kind(self) -> Nodes:
        """The same, on no kind of slot in particular."""
        return replace(self, kind=np.full(len(self), -1))

    def and_more(self, other: Nodes) -> Nodes:
        names = ("x", "code", "kind", "line", "own", "depth")
        return Nodes(*(np.concatenate([getattr(self, name), getattr(other, name)]) for name in names))


@dataclass(frozen=True)
class Hyper:
    """What is fitted. noise, rough, smooth: standard deviations. lengths: (d,). kinship: see KINSHIP. effect, doubt:
    mean and deviation of the mean effect. level: deviation of levels."""

    noise: float
    rough: float
    smooth: float
    lengths: np.ndarray
    kinship: float
    effect: float
    doubt: float
    level: float


def matern(square: np.ndarray) -> np.ndarray:
    """Matérn 5/2 of squared distances, in units of the lengths."""
    root = np.sqrt(5 * square)
    return np.asarray((1 + root + root**2 / 3) * np.exp(-root))


def _square(a: np.ndarray, b: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    a, b = a / lengths, b / lengths
    return np.maximum((a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T, 0.0)


def shared_steps(a: Nodes, b: Nodes) -> np.ndarray:
    """(a, b): how many experiments both descend from, or are, but for the baseline."""
    return np.asarray(a.line @ b.line.T + ((a.own[:, None] == b.own[None]) & (a.own >= 0)[:, None]))


def covariance(a: Nodes, b: Nodes, hyper: Hyper, apart: np.ndarray) -> np.ndarray:
    """(a, b), of the true scores. apart: (codes, codes), edits between each two."""
    kinship = np.exp(-hyper.kinship * apart[np.ix_(a.code, b.code)])
    found = hyper.level**2 + hyper.doubt**2 * np.outer(a.depth, b.depth) + hyper.rough**2 * shared_steps(a, b)
    found += hyper.smooth**2 * matern(_square(a.x, b.x, hyper.lengths)) * kinship
    return np.asarray(found + hyper.level**2 * ((a.kind[:, None] == b.kind[None]) & (a.kind >= 0)[:, None]))


@dataclass(frozen=True)
class Guess:
    """What the fit begins from. noise, spread: standard deviations, of one run and of all scores. freedom: degrees of
    freedom that the noise was found from."""

    noise: float
    spread: float
    freedom: float

    def hyper(self, axes: int) -> Hyper:
        level = LEVEL_DOUBT * max(self.spread, self.noise)
        return Hyper(
            noise=self.noise,
            rough=ROUGH * self.noise,
            smooth=SMOOTH * self.spread,
            lengths=np.full(axes, LENGTH),
            kinship=KINSHIP,
            effect=EFFECT * self.noise,
            doubt=EFFECT_DOUBT * self.noise,
            level=level,
        )


def fitted(nodes: Nodes, y: np.ndarray, runs: np.ndarray, apart: np.ndarray, guess: Guess) -> Hyper:
    """The hyperparameters of the largest posterior density. y: (n,), means over so many runs each, (n,)."""
    first = guess.hyper(nodes.x.shape[1])
    has_codes = bool((apart[np.ix_(nodes.code, nodes.code)] > 0).any())
    centre = np.log([first.noise, first.rough, first.smooth, *first.lengths, first.kinship])
    doubt = np.array([1 / math.sqrt(2 * guess.freedom), *DOUBT[:2], *[DOUBT[2]] * len(first.lengths), KINSHIP_DOUBT])
    parts = [(column[:, None] - column[None]) ** 2 for column in nodes.x.T]
    edits = apart[np.ix_(nodes.code, nodes.code)]
    steps = shared_steps(nodes, nodes)
    fixed = first.level**2 * (1 + (nodes.kind[:, None] == nodes.kind[None])) + first.doubt**2 * np.outer(
        nodes.depth, nodes.depth
    )
    away = y - y.mean() - first.effect * (nodes.depth - nodes.depth.mean())

    def loss(log: np.ndarray) -> tuple[float, np.ndarray]:
        noise, rough, smooth = np.exp(log[:3])
        lengths, kinship = np.exp(log[3:-1]), math.exp(log[-1])
        square = np.zeros_like(fixed)
        for part, length in zip(parts, lengths, strict=True):
            square += part / length**2
        root = np.sqrt(5 * square)
        decay = np.exp(-root)
        related = np.exp(-kinship * edits)
        smooth_part = smooth**2 * (1 + root + root**2 / 3) * decay * related
        whole = fixed + rough**2 * steps + smooth_part
        whole[np.diag_indices_from(whole)] += noise**2 / runs + JITTER * first.level**2
        try:
            factor = cholesky(whole, lower=True, check_finite=False)
        except np.linalg.LinAlgError:
            return 1e10, np.zeros_like(log)
        inverse = cho_solve((factor, True), np.eye(len(y)), check_finite=False)
        weights = inverse @ away
        pull = 0.5 * (np.outer(weights, weights) - inverse)  # derivative of the log likelihood by the covariance
        by_square = smooth**2 * (-5 / 6) * (1 + root) * decay * related  # of the smooth part, by a squared distance
        gradient = np.empty_like(log)
        gradient[0] = float(np.diag(pull) @ (2 * noise**2 / runs))
        gradient[1] = float((pull * steps).sum() * 2 * rough**2)
        gradient[2] = float((pull * smooth_part).sum() * 2)
        for place, (part, length) in enumerate(zip(parts, lengths, strict=True)):
            gradient[3 + place] = float((pull * by_square * part).sum() * -2 / length**2)
        gradient[-1] = float((pull * smooth_part * -edits).sum() * kinship) if has_codes else 0.0
        z = (log - centre) / doubt
        likelihood = -0.5 * away @ weights - np.log(np.diag(factor)).sum()
        return float(-likelihood + 0.5 * (z**2).sum()), -(gradient - z / doubt)

    bounds = [(c - 4 * d, c + 4 * d) for c, d in zip(centre, doubt, strict=True)]
    found = minimize(loss, centre, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 40})
    noise, rough, smooth = np.exp(found.x[:3])
    return replace(
        first,
        noise=float(noise),
        effect=EFFECT * float(noise),
        doubt=EFFECT_DOUBT * float(noise),
        rough=float(rough),
        smooth=float(smooth),
        lengths=np.exp(found.x[3:-1]),
        kinship=math.exp(found.x[-1]),
    )


@dataclass(frozen=True)
class Beside:
    """The difference of true scores to that of one other, (k,) each: mean and variance, its covariance with the first
    side's own true score, and the variance of that."""

    mean: np.ndarray
    variance: np.ndarray
    shared: np.ndarray
    own: np.ndarray

    def worths(self, noise: float) -> np.ndarray:
        """Of one run of the first side, by worth_of_a_run."""
        return worth_of_a_run(self.mean, self.shared, self.own, noise)


class Surrogate:
    """The posterior, given what was measured: y, (n,), the means of so many runs each, (n,)."""

    def __init__(
        self,
        nodes: Nodes,
        y: np.ndarray,
        runs: np.ndarray,
        hyper: Hyper,
        apart: np.ndarray,
        centre: float | None = None,
    ) -> None:
        self.nodes, self.y, self.runs, self.hyper, self.apart = nodes, y, runs, hyper, apart
        self.centre = float(y.mean()) if centre is None else centre
        whole = covariance(nodes, nodes, hyper, apart)
        whole[np.diag_indices_from(whole)] += hyper.noise**2 / runs + JITTER * hyper.level**2
        self._factor = cholesky(whole, lower=True, check_finite=False)
        self._weights = cho_solve((self._factor, True), y - self._prior(nodes), check_finite=False)

    def _prior(self, nodes: Nodes) -> np.ndarray:
        return np.asarray(self.centre + self.hyper.effect * nodes.depth)

    def _half(self, nodes: Nodes) -> tuple[np.ndarray, np.ndarray]:
        cross = covariance(nodes, self.nodes, self.hyper, self.apart)
        return cross, solve_triangular(self._factor, cross.T, lower=True, check_finite=False)

    def mean(self, nodes: Nodes) -> np.ndarray:
        """(k,), of the true scores."""
        cross = covariance(nodes, self.nodes, self.hyper, self.apart)
        return np.asarray(self._prior(nodes) + cross @ self._weights)

    def beside(self, nodes: Nodes, other: Nodes) -> Beside:
        """Each node's true score beside that of one other."""
        both = nodes.and_more(other)
        cross, half = self._half(both)
        mean = self._prior(both) + cross @ self._weights
        own = self._prior_variances(both) - (half**2).sum(0)
        shared = covariance(nodes, other, self.hyper, self.apart)[:, 0] - half[:, :-1].T @ half[:, -1]
        variance = own[:-1] - 2 * shared + own[-1]
        return Beside(mean[:-1] - mean[-1], variance.clip(1e-18), own[:-1] - shared, own[:-1].clip(1e-18))

    def _prior_variances(self, nodes: Nodes) -> np.ndarray:
        hyper = self.hyper
        steps = nodes.line.sum(1) + (nodes.own >= 0)
        levels = hyper.level**2 * (1 + (nodes.kind >= 0))
        return np.asarray(levels + hyper.doubt**2 * nodes.depth**2 + hyper.rough**2 * steps + hyper.smooth**2)

    def expecting(self, nodes: Nodes, y: np.ndarray | None = None) -> Surrogate:
        """As if one run each of these nodes had given this, (k,); None: what is expected of it."""
        if not len(nodes):
            return self
        given = np.append(self.y, self.mean(nodes) if y is None else y)
        runs = np.append(self.runs, np.ones(len(nodes)))
        return Surrogate(self.nodes.and_more(nodes), given, runs, self.hyper, self.apart, self.centre)


def expected_gain(mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """E[max(0, a normal variable)], elementwise."""
    deviation = np.maximum(deviation, 1e-12)
    z = mean / deviation
    below = 0.5 * np.array([math.erfc(-v / math.sqrt(2)) for v in np.ravel(z)]).reshape(z.shape)
    return np.asarray(mean * below + deviation * np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi))


def worth_of_a_run(
    mean: np.ndarray, shared: np.ndarray, variance: np.ndarray, noise: float, runs: float = 1.0
) -> np.ndarray:
    """The knowledge gradient (Frazier, Powell and Dayanik, "A Knowledge-Gradient Policy for Sequential Information
    Collection", 2008) of so many runs of one of two sides: by how much the better of the two, by what is known then, is
    expected to be better than the one that is chosen now. mean: of their difference. shared: the covariance of what is
    run with that difference. variance: of what is run."""
    moves = np.abs(shared) / np.sqrt(np.maximum(variance, 0.0) + noise**2 / runs)
    return np.asarray(expected_gain(mean, moves) - np.maximum(mean, 0.0))
