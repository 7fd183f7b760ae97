"""Which part of a data set a photo belongs to."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass

import prepare

PART_ENDS = (0.6, 0.8, 1.0)  # upper ends of the parts' shares of the hash range


@dataclass(frozen=True)
class Photo:
    """One file of the data set: its path below the data set, its class 0…4, and the SHA-256 of its bytes."""

    path: str
    label: int
    sha: str


def split(photos: list[Photo], groups: dict[str, str]) -> list[str]:
    """The part of each photo, by a hash of its bytes, or of its group's name if it has a group.

    Identical files and groups stay together: files with the same bytes join their groups, and the joined set goes
    where its alphabetically first group goes. So the split depends on neither order, file name nor seed, and added
    photos move no others (save by joining two groups, which `check` reports).
    """
    return [part_of_key(key) for key in keys_of(photos, groups)]


def keys_of(photos: list[Photo], groups: dict[str, str]) -> list[str]:
    """What names the set of photos that each photo stays together with."""
    leader: dict[str, str] = {}

    def find(key: str) -> str:
        while leader.setdefault(key, key) != key:
            key = leader[key]
        return key

    for photo in photos:
        if photo.path in groups:
            # "group:" sorts before "photo:", and the smaller key leads: a set with a group is named by a group.
            first, second = sorted((find(f"group:{groups[photo.path]}"), find(f"photo:{photo.sha}")))
            leader[second] = first
    return [find(f"photo:{photo.sha}") for photo in photos]


def part_of_key(key: str) -> str:
    """The part that a hash of this key falls in: 60 % train, 20 % validation, 20 % test."""
    fraction = int(hashlib.sha256(key.encode()).hexdigest()[:13], 16) / 16**13
    return next(part for part, end in zip(prepare.PARTS, PART_ENDS, strict=True) if fraction < end)


def warnings_about(
    photos: list[Photo], parts: list[str], groups: dict[str, str], classes: prepare.Classes = prepare.FIVE_CLASSES
) -> list[str]:
    """What a person should know about a data set that can be used all the same, one line each."""
    warnings = []
    for part in prepare.PARTS:
        present = {photo.label for photo, where in zip(photos, parts, strict=True) if where == part}
        warnings += [
            f"{part} has no photo of {name}" for label, name in enumerate(classes.names) if label not in present
        ]
    by_sha: dict[str, list[Photo]] = defaultdict(list)
    for photo in photos:
        by_sha[photo.sha].append(photo)
    for twins in by_sha.values():
        names = ", ".join(twin.path for twin in twins)
        if len({twin.label for twin in twins}) > 1:
            warnings.append(f"identical photos in two classes: {names}")
        joined = sorted({groups[twin.path] for twin in twins if twin.path in groups})
        if len(joined) > 1:
            warnings.append(f"identical photos join the groups {' and '.join(joined)} into one part: {names}")
    unknown = sorted(set(groups) - {photo.path for photo in photos})
    if unknown:
        warnings.append(f"groups.csv names {len(unknown)} files that are not there, first {unknown[0]}")
    return warnings
