"""Checks the kernel against a slow reference, and times it. Nothing in a search changes this file."""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"  # before NumPy is imported

import statistics
import sys
import time

import numpy as np
from kernel import nearest

POINTS, QUERIES, DIMENSIONS = 4096, 512, 24
SECONDS = 3.0
CHECKED = 64  # queries


def main() -> None:
    rng = np.random.default_rng(0)
    points, queries = rng.normal(size=(POINTS, DIMENSIONS)), rng.normal(size=(QUERIES, DIMENSIONS))
    wanted = [int(((query - points) ** 2).sum(1).argmin()) for query in queries[:CHECKED]]
    if nearest(queries, points)[:CHECKED].tolist() != wanted:
        sys.exit("nearest() does not find the nearest points")
    times, began = [], time.perf_counter()
    while time.perf_counter() - began < SECONDS or len(times) < 5:
        start = time.perf_counter()
        nearest(queries, points)
        times.append(time.perf_counter() - start)
    print("---")
    print(f"ms_per_call: {1000 * statistics.median(times):.4f}")
    print(f"calls: {len(times)}")


if __name__ == "__main__":
    main()
