"""The nearest of many points to each query: the only file to edit."""

from __future__ import annotations

import numpy as np

QUERY_BLOCK = 16  # queries at a time
POINT_BLOCK = 256  # points at a time
PRECISION = "float64"  # of the arithmetic: float64 or float32
EXPANDED = False  # |q - p|² as |p|² - 2 q·p, whose order is the same for each query


def distances(queries: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(queries, points): squared distances, or what has the same order."""
    if EXPANDED:
        return (points**2).sum(1) - 2 * queries @ points.T
    return ((queries[:, None] - points[None]) ** 2).sum(2)


def nearest(queries: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The index of the nearest of (n, d) points to each of (m, d) queries, (m,)."""
    queries, points = queries.astype(PRECISION), points.astype(PRECISION)
    found = np.zeros(len(queries), int)
    for first in range(0, len(queries), QUERY_BLOCK):
        chosen = queries[first : first + QUERY_BLOCK]
        best = np.full(len(chosen), np.inf)
        for start in range(0, len(points), POINT_BLOCK):
            apart = distances(chosen, points[start : start + POINT_BLOCK])
            at = apart.argmin(1)
            least = apart[np.arange(len(chosen)), at]
            closer = least < best
            best[closer] = least[closer]
            found[first : first + QUERY_BLOCK][closer] = at[closer] + start
    return found
