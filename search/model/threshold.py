"""From probabilities to an answer: the threshold of the risk, its calibration, and what acting on it is worth. Pure."""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import minimize_scalar

TINY = 1e-12
COLDEST, HOTTEST = 0.05, 20.0  # temperatures that are looked at
DECISIONS = np.round(np.linspace(0.01, 0.99, 99), 2)  # thresholds of a decision curve


def scaled(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """(n, classes) probabilities after temperature scaling (Guo et al., "On Calibration of Modern Neural Networks",
    2017): the softmax of their logarithms over the temperature."""
    logits = np.log(np.clip(probabilities, TINY, None)) / temperature
    raised = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(raised / raised.sum(1, keepdims=True))


def temperature_of(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The temperature at which (n, classes) probabilities give (n,) labels the largest likelihood."""

    def loss(log_temperature: float) -> float:
        given = scaled(probabilities, math.exp(log_temperature))[np.arange(len(labels)), labels]
        return float(-np.log(np.clip(given, TINY, None)).mean())

    bounds = math.log(COLDEST), math.log(HOTTEST)
    return float(math.exp(minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-4}).x))


def risk_of(probabilities: np.ndarray, positive: tuple[int, ...], temperature: float = 1.0) -> np.ndarray:
    """(n,) probability of the positive classes."""
    return np.asarray(scaled(probabilities, temperature)[:, list(positive)].sum(1))


def threshold_for(risk: np.ndarray, infected: np.ndarray, sensitivity: float) -> float:
    """The largest threshold at which so large a share of the infected photos is flagged. It lies half-way to the next
    smaller risk, so that the last digits of another runtime change no answer.

    risk: (n,), of which at least one is infected. sensitivity: above 0, at most 1.
    """
    of_infected = np.sort(risk[infected])[::-1]
    last = of_infected[max(math.ceil(sensitivity * len(of_infected) - 1e-9), 1) - 1]
    below = risk[risk < last]
    return float((last + (below.max() if len(below) else 0.0)) / 2)


def roc(risk: np.ndarray, infected: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(1 - specificity, sensitivity) at each threshold, from (0, 0) to (1, 1)."""
    order = np.argsort(-risk, kind="stable")
    last = np.append(np.flatnonzero(np.diff(risk[order])), len(risk) - 1)  # of each value
    hits, alarms = np.cumsum(infected[order])[last], np.cumsum(~infected[order])[last]
    of = max(int(infected.sum()), 1), max(int((~infected).sum()), 1)
    return np.append(0.0, alarms / of[1]), np.append(0.0, hits / of[0])


def net_benefit(flagged: np.ndarray, infected: np.ndarray, at: float) -> float:
    """Vickers and Elkin, "Decision curve analysis" (2006): true positives, less the false ones weighed by the odds of
    the threshold, per photo."""
    hits, alarms = float((flagged & infected).mean()), float((flagged & ~infected).mean())
    return hits - alarms * at / (1 - at)


def decision_curve(risk: np.ndarray, infected: np.ndarray) -> dict[str, np.ndarray]:
    """Net benefit at DECISIONS, of the model, of flagging every photo, and of flagging none."""
    every = np.ones(len(risk), bool)
    return {
        "model": np.array([net_benefit(risk >= at, infected, at) for at in DECISIONS]),
        "all": np.array([net_benefit(every, infected, at) for at in DECISIONS]),
        "none": np.zeros(len(DECISIONS)),
    }
