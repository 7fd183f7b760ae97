"""The photos of a data set: its class folders, its manifest.json and its groups.csv."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from pathlib import Path

import prepare

SMALLEST_IMAGE = 16
LITTER = {"Thumbs.db", "desktop.ini"}  # what operating systems leave in folders


def manifest_of(dataset: Path) -> tuple[int, prepare.Classes]:
    """(the size in pixels that photos are decoded to, the classes): IMAGE_SIZE and the five, or what manifest.json
    declares as `image_size`, which may be smaller, `classes`, names of folders, and `positive`, some of these.

    Raises DataError if the manifest cannot be read, or declares what cannot be used.
    """
    manifest = dataset / "manifest.json"
    if not manifest.exists():
        return prepare.IMAGE_SIZE, prepare.FIVE_CLASSES
    try:
        declared = json.loads(manifest.read_text())
        size = declared.get("image_size", prepare.IMAGE_SIZE)
        names, positive = declared.get("classes"), declared.get("positive")
    except (OSError, ValueError, AttributeError) as error:
        raise prepare.DataError(f"{manifest}: not a JSON object: {error}") from error
    if type(size) is not int or not SMALLEST_IMAGE <= size <= prepare.IMAGE_SIZE:
        raise prepare.DataError(
            f"{manifest}: image_size is {size!r}; a whole number from {SMALLEST_IMAGE} to {prepare.IMAGE_SIZE}"
        )
    if names is None and positive is None:
        return size, prepare.FIVE_CLASSES
    names = list(prepare.CLASSES) if names is None else names
    if not _are_folders(names) or len(names) < 2:
        raise prepare.DataError(f"{manifest}: classes is {names!r}; a list of at least two different names of folders")
    if not _are_folders(positive) or not 0 < len(set(positive) & set(names)) == len(positive) < len(names):
        raise prepare.DataError(
            f"{manifest}: positive is {positive!r}; a list of some of the classes {', '.join(names)}"
        )
    return size, prepare.Classes(tuple(names), tuple(names.index(name) for name in positive))


def _are_folders(names: object) -> bool:
    """Whether this is a list of different names that folders may have."""
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return False
    return len(set(names)) == len(names) and all(name == Path(name).name and not name.startswith(".") for name in names)


def photo_files(dataset: Path, classes: prepare.Classes) -> list[tuple[str, int]]:
    """(path below the data set, class) of every file in the class folders, sorted by path.

    Raises DataError for a missing data set, a missing or empty class, or a folder that is none, all of them at once.
    """
    files, problems = look_through(dataset, classes)
    if problems:
        raise prepare.DataError("\n".join(problems))
    return files


def look_through(dataset: Path, classes: prepare.Classes) -> tuple[list[tuple[str, int]], list[str]]:
    """The files of the class folders, as photo_files gives them, and what is wrong with the folders."""
    if not dataset.is_dir():
        raise prepare.DataError(
            f"{dataset}: no such data set folder; name one with --dataset, or draw one: "
            f"python prepare.py --demo {dataset}"
        )
    problems, known = [], classes.names
    for folder in sorted(p.name for p in dataset.iterdir() if p.is_dir() and not p.name.startswith(".")):
        if folder not in known:
            problems.append(
                f"{dataset / folder}: not one of the {len(known)} class folders ({known[0]} … {known[-1]}); "
                "move it elsewhere, or declare it in manifest.json"
            )
    files: list[tuple[str, int]] = []
    for label, name in enumerate(known):
        if not (dataset / name).is_dir():
            problems.append(f"{dataset / name}: missing class folder")
            continue
        found = []
        for root, folders, names in os.walk(dataset / name, followlinks=True):
            folders[:] = [f for f in folders if not f.startswith(".")]
            kept = (n for n in names if not n.startswith(".") and n not in LITTER)
            found += [(Path(root, n).relative_to(dataset).as_posix(), label) for n in kept]
        if not found:
            problems.append(f"{dataset / name}: empty class folder")
        files += found
    return sorted(files), problems


def read_groups(dataset: Path) -> dict[str, str]:
    """path -> group from the optional groups.csv. Raises DataError if its header or a row is not `path,group`."""
    table = dataset / "groups.csv"
    if not table.exists():
        return {}
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.reader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise prepare.DataError(f"{table}: {error}") from error
    if not rows or [cell.strip() for cell in rows[0]] != ["path", "group"]:
        raise prepare.DataError(
            f"{table}: the header is {','.join(rows[0]) if rows else 'missing'}; it must be path,group"
        )
    groups: dict[str, str] = {}
    for number, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        if len(row) != 2 or not row[0].strip() or not row[1].strip():
            raise prepare.DataError(f"{table}:{number}: {','.join(row)!r} is not path,group")
        path, group = Path(row[0].strip()).as_posix(), row[1].strip()
        if groups.setdefault(path, group) != group:
            raise prepare.DataError(f"{table}:{number}: {path} is in group {groups[path]} and in group {group}")
    return groups


def sha_of(path: Path) -> str:
    """Of a file's bytes; empty if it cannot be read, which decoding it will report."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return ""
