"""How a model does for parts of the photos: those that subgroups.csv names, and the large groups of groups.csv."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import prepare
from search.model.operating import Operating, Photos
from search.task.screening.rates import rates_of

FILE = "subgroups.csv"
FEWEST = 10  # photos of a subgroup that is told
MOST = 40  # subgroups that are told
Named = dict[str, dict[str, str]]  # characteristic -> photo's path -> value, as in sex -> class_4/17.jpg -> female


def read_subgroups(dataset: Path) -> Named:
    """Of the optional subgroups.csv: its header is `path` and the names of characteristics, as in path,sex,centre; an
    empty cell is unknown. Raises DataError if it is otherwise."""
    table = dataset / FILE
    if not table.exists():
        return {}
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:
            rows = [[cell.strip() for cell in row] for row in csv.reader(stream)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise prepare.DataError(f"{table}: {error}") from error
    header = rows[0] if rows else []
    if len(header) < 2 or header[0] != "path" or not all(header) or len(set(header)) < len(header):
        raise prepare.DataError(
            f"{table}: the header is {','.join(header) or 'missing'}; it must be path and names of characteristics, as "
            "in path,sex,centre"
        )
    found: Named = {name: {} for name in header[1:]}
    for number, row in enumerate(rows[1:], start=2):
        if row and len(row) != len(header):
            raise prepare.DataError(f"{table}:{number}: {','.join(row)!r} has {len(row)} cells, not {len(header)}")
        for name, value in zip(header[1:], row[1:], strict=False):
            if value:
                found[name][Path(row[0]).as_posix()] = value
    return found


def figures_of_subgroups(
    photos: Photos, at: Operating, paths: Sequence[str], named: Mapping[str, Mapping[str, str]]
) -> list[dict[str, Any]]:
    """Of each value of each characteristic: how many photos, and how they are screened at the threshold, the largest
    first. paths: (n,), of each photo; '' where it is not known. Those of fewer than FEWEST photos are left out."""
    flagged = photos.risk(at.temperature) >= at.threshold
    found: list[dict[str, Any]] = []
    for name, of_path in named.items():
        values = np.array([of_path.get(path, "") for path in paths])
        for value in sorted(set(values.tolist()) - {""}):
            its = values == value
            if its.sum() >= FEWEST:
                infected = photos.infected[its]
                counts = {"photos": int(its.sum()), "infected": int(infected.sum())}
                found.append(
                    {"name": f"{name}: {value}", **counts, **rates_of(flagged[its], infected, photos.groups[its])}
                )
    return sorted(found, key=lambda one: -one["photos"])[:MOST]
