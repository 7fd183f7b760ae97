"""Builds the decoded cache of a data set, and tells what it holds."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

import prepare
from search.task.screening.decoding import decode, problem_with
from search.task.screening.photos import look_through, manifest_of, photo_files, read_groups, sha_of
from search.task.screening.split import Photo, keys_of, part_of_key, warnings_about

CACHE_FORMAT = 4  # part of the cache's key: raise it when decoding or the layout changes


def load(dataset: Path) -> prepare.Data:
    """The decoded data set of a folder; builds its cache first if there is none. Raises DataError if that fails."""
    size, classes = manifest_of(dataset)
    files = photo_files(dataset, classes)
    try:
        known = json.loads(_pointer(dataset).read_text())
        if known["stamp"] == _stamp(dataset, files, size, classes) and (data := prepare.cached(known["fingerprint"])):
            return data
    except (OSError, ValueError, KeyError):
        pass  # no cache yet, or one that somebody removed: build it
    return build(dataset)[0]


def _stamp(dataset: Path, files: list[tuple[str, int]], size: int, classes: prepare.Classes) -> str:
    """A hash of paths, sizes and times: says without reading the photos whether the data set is the one cached."""
    lines = [f"{CACHE_FORMAT} {size} {classes}"]
    for path in [*(path for path, _ in files), "groups.csv"]:
        try:
            stat = (dataset / path).stat()
            lines.append(f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}")
        except FileNotFoundError:
            lines.append(f"{path}\0absent")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _pointer(dataset: Path) -> Path:
    """The small file that remembers which cache belongs to a data set folder."""
    return (
        prepare.cache_root() / "datasets" / (hashlib.sha256(str(dataset.resolve()).encode()).hexdigest()[:24] + ".json")
    )


def _write_in_place(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as stream:
        stream.write(text)
    os.replace(stream.name, path)


def _write_labels(
    folder: Path, photos: list[Photo], parts: list[str], together: list[int], size: int, classes: prepare.Classes
) -> None:
    """labels.json for the scorer; view.json, without a label, for trials."""
    labels = [photo.label for photo in photos]
    sealed = {"labels": labels, "shas": [photo.sha for photo in photos], "groups": together}
    (folder / "labels.json").write_text(json.dumps(sealed))
    view = {"part": [prepare.PARTS.index(part) for part in parts], "image_size": size, **prepare.as_json(classes)}
    (folder / prepare.VIEW / "view.json").write_text(json.dumps(view))


def build(dataset: Path) -> tuple[prepare.Data, list[Photo], list[str], Counter[str]]:
    """Reads and decodes every photo and leaves the cache in place: (data, photos, warnings, formats).

    The cache is built aside and moved into place, so that a second process, or a kill, never leaves half of one.
    Raises DataError listing every missing or empty class, sixth folder and unreadable file.
    """
    size, classes = manifest_of(dataset)
    files, problems = look_through(dataset, classes)
    groups, stamp = read_groups(dataset), _stamp(dataset, files, size, classes)
    root = prepare.cache_root()
    root.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(root)
    aside = Path(tempfile.mkdtemp(prefix="building-", dir=root))
    try:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            photos = list(pool.map(lambda file: Photo(file[0], file[1], sha_of(dataset / file[0])), files))
            # The order of the cache is by content: a renamed file neither moves a photo nor changes the fingerprint.
            photos.sort(key=lambda photo: (photo.sha, photo.label, photo.path))
            (aside / prepare.VIEW).mkdir()
            images = _room_for(aside / prepare.IMAGES, (len(photos), size, size, 3))

            def fill(index: int) -> tuple[str, str]:
                try:
                    images[index], format_name = decode(dataset / photos[index].path, size)
                    return format_name, ""
                except Exception as error:  # Pillow raises many kinds for a broken file; each means the same here
                    return "", problem_with(dataset / photos[index].path, error)

            decoded = list(pool.map(fill, range(len(photos))))
        problems += sorted(problem for _, problem in decoded if problem)
        if problems:
            raise prepare.DataError("\n".join(problems))
        keys = keys_of(photos, groups)
        parts, numbers = [part_of_key(key) for key in keys], {key: n for n, key in enumerate(dict.fromkeys(keys))}
        together = [numbers[key] for key in keys]
        rows = zip(photos, parts, together, strict=True)
        content = [f"{photo.sha} {photo.label} {part} {group}" for photo, part, group in rows]
        head = f"{CACHE_FORMAT} {size} {classes}\n"
        fingerprint = hashlib.sha256((head + "\n".join(content)).encode()).hexdigest()
        final = root / fingerprint
        if not (final / "labels.json").exists():
            images.flush()
            _write_labels(aside, photos, parts, together, size, classes)
            os.chmod(aside, 0o755)
            try:
                os.rename(aside, final)
            except OSError:
                if not (final / "labels.json").exists():  # not another process that was first
                    raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    _write_in_place(_pointer(dataset), json.dumps({"stamp": stamp, "fingerprint": fingerprint}))
    warnings = warnings_about(photos, parts, groups, classes)
    return prepare.open_cache(final), photos, warnings, Counter(name for name, _ in decoded)


def _room_for(path: Path, shape: tuple[int, ...]) -> np.memmap:
    """A new memory-mapped uint8 array. Raises OSError if the disk has no room for all of it."""
    images = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    with path.open("r+b") as stream:
        # A hole in a file that finds no room when it is written kills the process, without a word.
        if hasattr(os, "posix_fallocate") and path.stat().st_size:
            os.posix_fallocate(stream.fileno(), 0, path.stat().st_size)
    return images


def _remove_abandoned(root: Path) -> None:
    """Removes what builds that were killed have left behind, a day later."""
    for left in root.glob("building-*"):
        if left.stat().st_mtime < time.time() - 86400:
            shutil.rmtree(left, ignore_errors=True)


def report(dataset: Path) -> None:
    """Checks a data set and prints what it holds. Raises DataError if it cannot be used."""
    data, photos, warnings, formats = build(dataset)
    counts = Counter(photo.label for photo in photos)
    print(f"data set   {dataset}")
    print(
        f"constants  TIME_BUDGET {prepare.TIME_BUDGET} s, IMAGE_SIZE {prepare.IMAGE_SIZE} px, "
        f"BINARY_INFECTION_CLASS {prepare.BINARY_INFECTION_CLASS}"
    )
    print(
        f"image size {data.image_size} px"
        + (" (declared by manifest.json)" if data.image_size != prepare.IMAGE_SIZE else "")
    )
    print(f"photos     {len(photos)}; formats: " + ", ".join(f"{n} {name}" for name, n in formats.most_common()))
    print(f"{'class':10} {'photos':>7} {'share':>7}  {'role':18} " + " ".join(f"{part:>10}" for part in prepare.PARTS))
    is_declared = data.classes != prepare.FIVE_CLASSES
    is_positive, is_not = ("positive", "not positive") if is_declared else ("infected", "not infected")
    for label, name in enumerate(data.classes.names):
        role = is_positive if label in data.classes.positive else is_not
        cells = " ".join(
            f"{int(((data.part == i) & (data.labels == label)).sum()):>10}" for i in range(len(prepare.PARTS))
        )
        print(f"{name:10} {counts[label]:>7} {counts[label] / len(photos):>7.1%}  {role:18} {cells}")
    rare, common = min(counts.values()), max(counts.values())
    print(f"imbalance  the largest class has {common / rare:.1f} times the photos of the smallest")
    share = data.classes.is_positive(data.labels[data.indices("validation")]).mean()
    majority, answer = (1 - share, is_not) if share <= 0.5 else (share, is_positive)
    print(f'majority   always answering "{answer}" has bin_acc {majority:.4f} on validation')
    for warning in warnings:
        print(f"warning    {warning}")
    print(f"cache      {prepare.cache_root() / data.fingerprint}")
