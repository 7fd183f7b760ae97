"""Draws what was scored anew, by groups: what an interval or a probability is found by. Pure."""

from __future__ import annotations

import numpy as np


def drawn_with_groups(rng: np.random.Generator, groups: np.ndarray, times: int) -> np.ndarray:
    """(times, n): how often each photo is drawn if as many groups as there are are drawn with replacement."""
    _, of_group = np.unique(groups, return_inverse=True)
    count = int(of_group.max()) + 1
    return rng.multinomial(count, np.full(count, 1 / count), times)[:, of_group]
