"""How far a run has come, by what it prints as it trains, and whether it is to be stopped."""

from __future__ import annotations

import re
from statistics import fmean

from search.core.types import StoppedEarly
from search.decide.early_stop import RUNGS, Yardstick, hopeless
from search.trial.footer import LOSS

PROGRESS = re.compile(r"^(?:step|epoch)\b.*?\bprogress[ =:]+([-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)\b", re.MULTILINE)


class ProgressWatch:
    """Follows one run. values: its progress at each rung that it has reached: the mean of what its training lines have
    said since half of that rung, `progress` if they have it, else their loss, turned. stopped: how it was ended, if it
    was. budget: seconds of training."""

    def __init__(self, yardstick: Yardstick, budget: float) -> None:
        self.yardstick, self.budget = yardstick, budget
        self.values: list[float] = []
        self.stopped: StoppedEarly | None = None
        self._progress: list[tuple[float, float]] = []  # seconds, value
        self._losses: list[tuple[float, float]] = []
        self._unread = ""
        self._over = False

    def judge(self, printed: bytes, seconds: float) -> str:
        """Why the run is to be ended now; '' if it is not. printed: since the last call. seconds: since its first
        training line."""
        *lines, self._unread = (self._unread + printed.decode(errors="replace").replace("\r", "\n")).split("\n")
        text = "\n".join(lines)
        self._progress += [(seconds, float(number)) for number in PROGRESS.findall(text)]
        self._losses += [(seconds, -float(number)) for number in LOSS.findall(text)]
        rung = len(self.values)
        if self._over or rung == len(RUNGS) or seconds < RUNGS[rung] * self.budget:
            return ""
        lately = [value for at, value in self._progress or self._losses if at >= RUNGS[rung] * self.budget / 2]
        if not lately:  # it has until the next rung to say something; after that it trains no more, or says too little
            self._over = seconds >= (*RUNGS, 1.0)[rung + 1] * self.budget
            return ""
        self.values.append(fmean(lately))
        found = hopeless(self.yardstick, self.values)
        if found is None:
            return ""
        self.stopped = StoppedEarly(round(seconds, 1), found.mean, found.deviation)
        return f"stopped at {seconds:.0f} s of {self.budget:g}"
