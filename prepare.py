"""The fixed part of every experiment: the data set, its split, its decoded cache and the only metric.

Nothing in a search changes this file. `python prepare.py` checks a data set and builds its cache;
`python prepare.py --demo DIR` draws a synthetic one; `train.py` calls `load()`, `begin_training()` and `evaluate()`.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import importlib.util
import json
import os
import shutil
import socket
import sys
import tempfile
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if _missing := [name for name in ("numpy", "PIL", "torch") if importlib.util.find_spec(name) is None]:
    sys.exit(
        f"not installed for {sys.executable}: {', '.join(_missing)}; "
        "use .venv/bin/python, which `make install` sets up, or pip install -r requirements.txt"
    )

import numpy as np
from PIL import Image, ImageOps

if TYPE_CHECKING:
    import torch

TIME_BUDGET = 300  # seconds of training per trial
IMAGE_SIZE = 384  # pixels; a data set's own manifest.json may declare a smaller one
BINARY_INFECTION_CLASS = 4  # class_4 is infected, every other class is not; a manifest.json may declare other classes
CLASSES = tuple(f"class_{i}" for i in range(5))
PARTS = ("train", "validation", "test")
PART_ENDS = (0.6, 0.8, 1.0)  # upper ends of the parts' shares of the hash range
CACHE_FORMAT = 4  # part of the cache's key: raise it when decoding or the layout changes
SMALLEST_IMAGE = 16
LITTER = {"Thumbs.db", "desktop.ini"}  # what operating systems leave in folders
EVALUATE_BATCH = 16  # activations of 64 photos of 384 px take gigabytes of a GPU's memory
VIEW = "view"  # folder within a cache: what a trial of a search may read
IMAGES = "images.npy"
WITHHELD = -1  # the label of a photo whose label a trial is not, or not yet, given
SCORER_VARIABLE = "AUTORESEARCH_SCORER"  # file descriptor of the socket to the search's scorer, in a trial of a search
PROBE_SECONDS = 0.1
PROBE_SIDE, PROBE_PRODUCTS = 2048, 32  # of the matrices on CUDA: 0.55 TFLOP, with 16 MB
MOST_OF_16_BITS = 2**16 - 1
HEIF_BRANDS = {b"heic", b"heix", b"hevc", b"heim", b"mif1", b"msf1"}


class DataError(Exception):
    """The data set cannot be used; the message has one problem per line."""


@dataclass(frozen=True)
class Photo:
    """One file of the data set: its path below the data set, its class 0…4, and the SHA-256 of its bytes."""

    path: str
    label: int
    sha: str


@dataclass(frozen=True)
class Classes:
    """What photos are told apart into. names: of the class folders, in the order of their indices. positive: the
    indices of those that mean infected, or whatever else is screened for."""

    names: tuple[str, ...] = CLASSES
    positive: tuple[int, ...] = (BINARY_INFECTION_CLASS,)

    def is_positive(self, labels: np.ndarray) -> np.ndarray:
        """(n,) of whether (n,) class indices are positive."""
        return np.isin(labels, self.positive)


FIVE_CLASSES = Classes()


@dataclass(frozen=True)
class Data:
    """A decoded data set.

    images: uint8, (photos, size, size, 3), memory-mapped, RGB. labels: int64, (photos,). In a trial of a search all
    images are blank and all labels WITHHELD before begin_training; the labels of validation and test stay so. part:
    int8, (photos,), an index into PARTS. shas: SHA-256 of each photo's bytes; none in a trial of a search. fingerprint:
    the cache's key, 64 hex digits. groups: int64, (photos,), the same for photos that belong together, as one
    patient's do; none in a trial of a search.
    """

    images: np.ndarray
    labels: np.ndarray
    part: np.ndarray
    shas: list[str]
    image_size: int
    fingerprint: str
    groups: np.ndarray
    classes: Classes = FIVE_CLASSES

    def indices(self, part: str) -> np.ndarray:
        """Positions, (n,), of the photos of one of PARTS."""
        return np.flatnonzero(self.part == PARTS.index(part))


# --- the folder -------------------------------------------------------------------------------------------------


def manifest_of(dataset: Path) -> tuple[int, Classes]:
    """(the size in pixels that photos are decoded to, the classes): IMAGE_SIZE and the five, or what manifest.json
    declares as `image_size`, which may be smaller, `classes`, names of folders, and `positive`, some of these.

    Raises DataError if the manifest cannot be read, or declares what cannot be used.
    """
    manifest = dataset / "manifest.json"
    if not manifest.exists():
        return IMAGE_SIZE, FIVE_CLASSES
    try:
        declared = json.loads(manifest.read_text())
        size = declared.get("image_size", IMAGE_SIZE)
        names, positive = declared.get("classes"), declared.get("positive")
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(f"{manifest}: not a JSON object: {error}") from error
    if type(size) is not int or not SMALLEST_IMAGE <= size <= IMAGE_SIZE:
        raise DataError(f"{manifest}: image_size is {size!r}; a whole number from {SMALLEST_IMAGE} to {IMAGE_SIZE}")
    if names is None and positive is None:
        return size, FIVE_CLASSES
    names = list(CLASSES) if names is None else names
    if not _are_folders(names) or len(names) < 2:
        raise DataError(f"{manifest}: classes is {names!r}; a list of at least two different names of folders")
    if not _are_folders(positive) or not 0 < len(set(positive) & set(names)) == len(positive) < len(names):
        raise DataError(f"{manifest}: positive is {positive!r}; a list of some of the classes {', '.join(names)}")
    return size, Classes(tuple(names), tuple(names.index(name) for name in positive))


def _are_folders(names: object) -> bool:
    """Whether this is a list of different names that folders may have."""
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return False
    return len(set(names)) == len(names) and all(name == Path(name).name and not name.startswith(".") for name in names)


def photo_files(dataset: Path, classes: Classes) -> list[tuple[str, int]]:
    """(path below the data set, class) of every file in the class folders, sorted by path.

    Raises DataError for a missing data set, a missing or empty class, or a folder that is none, all of them at once.
    """
    files, problems = _look_through(dataset, classes)
    if problems:
        raise DataError("\n".join(problems))
    return files


def _look_through(dataset: Path, classes: Classes) -> tuple[list[tuple[str, int]], list[str]]:
    """The files of the class folders, as photo_files gives them, and what is wrong with the folders."""
    if not dataset.is_dir():
        raise DataError(
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
        raise DataError(f"{table}: {error}") from error
    if not rows or [cell.strip() for cell in rows[0]] != ["path", "group"]:
        raise DataError(f"{table}: the header is {','.join(rows[0]) if rows else 'missing'}; it must be path,group")
    groups: dict[str, str] = {}
    for number, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        if len(row) != 2 or not row[0].strip() or not row[1].strip():
            raise DataError(f"{table}:{number}: {','.join(row)!r} is not path,group")
        path, group = Path(row[0].strip()).as_posix(), row[1].strip()
        if groups.setdefault(path, group) != group:
            raise DataError(f"{table}:{number}: {path} is in group {groups[path]} and in group {group}")
    return groups


def _sha_of(path: Path) -> str:
    """Of a file's bytes; empty if it cannot be read, which decoding it will report."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return ""


def _decode(path: Path, size: int) -> tuple[np.ndarray, str]:
    """One photo as uint8 (size, size, 3), and its file format: turned upright, the whole of it resized, so that no
    edge is cropped away."""
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(_of_eight_bits(image)).convert("RGB")
        pixels = np.asarray(upright.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=2.0))
        return pixels, image.format or "unknown"


def _of_eight_bits(image: Image.Image) -> Image.Image:
    """A photo of more than eight bits a channel with the whole of its range in eight; Pillow would cut it off at 255.

    Raises ValueError for a photo of numbers without a range.
    """
    if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
        return image
    if image.mode == "F":
        raise ValueError("its pixels are fractions, and nothing says of what; save it with 8 or 16 bits")
    pixels = np.asarray(image).astype(np.int64)
    if pixels.min() < 0 or pixels.max() > MOST_OF_16_BITS:
        raise ValueError("its pixels have more than 16 bits; save it with 8 or 16")
    scaled = Image.fromarray((pixels // 257).astype(np.uint8))
    scaled.info |= {"exif": image.info["exif"]} if "exif" in image.info else {}
    return scaled


def _problem_with(path: Path, error: Exception) -> str:
    """Why a file is no photo that can be read, in one line."""
    with path.open("rb") as stream:
        head = stream.read(12)
    if head[4:8] == b"ftyp" and head[8:12] in HEIF_BRANDS:
        return f"{path}: a HEIC photo, which is not read here; save it as JPEG or PNG"
    return f"{path}: unreadable image: {type(error).__name__}: {error}"


# --- the split --------------------------------------------------------------------------------------------------


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
    return next(part for part, end in zip(PARTS, PART_ENDS, strict=True) if fraction < end)


def warnings_about(
    photos: list[Photo], parts: list[str], groups: dict[str, str], classes: Classes = FIVE_CLASSES
) -> list[str]:
    """What a person should know about a data set that can be used all the same, one line each."""
    warnings = []
    for part in PARTS:
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


# --- the cache --------------------------------------------------------------------------------------------------


def cache_root() -> Path:
    """Where decoded caches lie, for all trials of this machine: $AUTORESEARCH_CACHE or the user's cache folder."""
    named = os.environ.get("AUTORESEARCH_CACHE")
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(named).absolute() if named else base.absolute() / "autoresearch"


def _stamp(dataset: Path, files: list[tuple[str, int]], size: int, classes: Classes) -> str:
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
    return cache_root() / "datasets" / (hashlib.sha256(str(dataset.resolve()).encode()).hexdigest()[:24] + ".json")


def _write_in_place(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as stream:
        stream.write(text)
    os.replace(stream.name, path)


def load(dataset: Path | str = "dataset") -> Data:
    """The decoded data set, from its cache; builds the cache first if there is none.

    dataset: the folder of the five classes, or the view of a cache, which a search names to its trials.
    Raises DataError if the data set cannot be used.
    """
    dataset = Path(dataset).absolute()
    if (dataset / "view.json").exists():
        return _open_view(dataset)
    size, classes = manifest_of(dataset)
    files = photo_files(dataset, classes)
    try:
        known = json.loads(_pointer(dataset).read_text())
        if known["stamp"] == _stamp(dataset, files, size, classes):
            return _open_cache(cache_root() / known["fingerprint"])
    except (OSError, ValueError, KeyError, DataError):
        pass  # no cache yet, or one that somebody removed: build it
    return build(dataset)[0]


def cached(fingerprint: str) -> Data | None:
    """A data set that this machine has decoded, wherever its photos are; None if it has not."""
    try:
        return _open_cache(cache_root() / fingerprint)
    except (OSError, ValueError, KeyError, DataError):
        return None


def view_of(data: Data) -> Path:
    """The folder to name as data set to a trial: how many photos there are, and in which parts. The rest comes with
    begin_training."""
    return cache_root() / data.fingerprint / VIEW


def images_of(data: Data) -> Path:
    """The file of a cache's decoded photos."""
    return cache_root() / data.fingerprint / IMAGES


def _open_cache(folder: Path) -> Data:
    sealed = json.loads((folder / "labels.json").read_text())
    return replace(
        _open_view(folder / VIEW),
        images=np.load(folder / IMAGES, mmap_mode="r"),
        labels=np.array(sealed["labels"], np.int64),
        shas=sealed["shas"],
        groups=np.array(sealed["groups"], np.int64),
    )


def _open_view(folder: Path) -> Data:
    """A cache's view, or one that has photos and labels of its own."""
    try:
        view = json.loads((folder / "view.json").read_text())
        part, size = np.array(view["part"], np.int8), view["image_size"]
        blank = np.broadcast_to(np.zeros((), np.uint8), (len(part), size, size, 3))
        return Data(
            images=np.load(folder / IMAGES, mmap_mode="r") if (folder / IMAGES).exists() else blank,
            labels=np.array(view.get("labels", [WITHHELD] * len(part)), np.int64),
            part=part,
            shas=[],
            image_size=size,
            fingerprint=folder.parent.name,
            groups=np.zeros(0, np.int64),
            classes=Classes(tuple(view["classes"]), tuple(view["positive"])),
        )
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{folder}: not the view of a cache: {error}; python prepare.py builds it anew") from error


def _write_labels(
    folder: Path, photos: list[Photo], parts: list[str], together: list[int], size: int, classes: Classes
) -> None:
    """labels.json for the scorer; view.json, without a label, for trials."""
    labels = [photo.label for photo in photos]
    sealed = {"labels": labels, "shas": [photo.sha for photo in photos], "groups": together}
    (folder / "labels.json").write_text(json.dumps(sealed))
    view = {"part": [PARTS.index(part) for part in parts], "image_size": size, **as_json(classes)}
    (folder / VIEW / "view.json").write_text(json.dumps(view))


def build(dataset: Path) -> tuple[Data, list[Photo], list[str], Counter[str]]:
    """Reads and decodes every photo and leaves the cache in place: (data, photos, warnings, formats).

    The cache is built aside and moved into place, so that a second process, or a kill, never leaves half of one.
    Raises DataError listing every missing or empty class, sixth folder and unreadable file.
    """
    size, classes = manifest_of(dataset)
    files, problems = _look_through(dataset, classes)
    groups, stamp = read_groups(dataset), _stamp(dataset, files, size, classes)
    root = cache_root()
    root.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(root)
    aside = Path(tempfile.mkdtemp(prefix="building-", dir=root))
    try:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            photos = list(pool.map(lambda file: Photo(file[0], file[1], _sha_of(dataset / file[0])), files))
            # The order of the cache is by content: a renamed file neither moves a photo nor changes the fingerprint.
            photos.sort(key=lambda photo: (photo.sha, photo.label, photo.path))
            (aside / VIEW).mkdir()
            images = _room_for(aside / IMAGES, (len(photos), size, size, 3))

            def decode(index: int) -> tuple[str, str]:
                try:
                    images[index], format_name = _decode(dataset / photos[index].path, size)
                    return format_name, ""
                except Exception as error:  # Pillow raises many kinds for a broken file; each means the same here
                    return "", _problem_with(dataset / photos[index].path, error)

            decoded = list(pool.map(decode, range(len(photos))))
        problems += sorted(problem for _, problem in decoded if problem)
        if problems:
            raise DataError("\n".join(problems))
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
    return _open_cache(final), photos, warnings, Counter(name for name, _ in decoded)


def as_json(classes: Classes) -> dict[str, list[Any]]:
    """Classes as a view has them."""
    return {"classes": list(classes.names), "positive": list(classes.positive)}


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


# --- the metric -------------------------------------------------------------------------------------------------


def accuracies(probabilities: np.ndarray, labels: np.ndarray, classes: Classes = FIVE_CLASSES) -> dict[str, float]:
    """mc_acc and bin_acc of (n, classes) probabilities against (n,) labels: the class is the most probable one."""
    chosen = probabilities.argmax(1)
    return {
        "mc_acc": float((chosen == labels).mean()),
        "bin_acc": float((classes.is_positive(chosen) == classes.is_positive(labels)).mean()),
    }


def begin_training(data: Data) -> Data:
    """The data set with its photos, and the labels of the training photos: from here on the budget of seconds is used.

    Call it once, when all is ready that needs neither, such as a compiled network. In a trial of a search the scorer
    hands both over, and its clock counts; elsewhere `data` has both already, and is returned. Raises DataError if they
    are withheld and there is no scorer, or it refuses.
    """
    scorer = _Scorer.of_this_trial()
    if scorer is None:
        if (data.labels == WITHHELD).all():
            raise DataError("photos and labels are withheld: only a trial of a search is given them")
        return data
    answer, descriptor = scorer.ask_for_file({"event": "training"})
    with os.fdopen(descriptor, "rb") as stream:
        np.lib.format.read_magic(stream)
        shape, _, kind = np.lib.format.read_array_header_1_0(stream)
        images = np.memmap(stream, kind, "r", stream.tell(), shape)
    return replace(data, images=images, labels=np.array(answer["labels"], np.int64))


def evaluate(model: torch.nn.Module, data: Data, device: torch.device | str) -> dict[str, float]:
    """Scores a model on the validation photos: the only metric of a search. Call it once, when training has ended.

    The model takes float32 (n, 3, size, size) in 0…1 and gives (n, classes) logits; normalisation is the model's own.
    In a search it hands the probabilities of the validation and test photos to the scorer, which alone has their labels
    and takes the first ones it gets. Returns mc_acc and bin_acc on validation. Raises ValueError if a probability is
    not a number, DataError if data is not begin_training's, or the scorer refuses what it gets.
    """
    if (data.labels == WITHHELD).all():
        raise DataError("these photos are blank: evaluate() wants the data set that begin_training() gives")
    scorer = _Scorer.of_this_trial()
    validation = data.indices("validation")
    if scorer is None:
        if (data.labels[validation] == WITHHELD).any():
            raise DataError("the labels of the validation photos are withheld: only a trial of a search can be scored")
        return accuracies(_probabilities(model, data, validation, device), data.labels[validation], data.classes)
    scorer.ask({"event": "evaluating", "probe": speed_probe(device)})
    both = np.concatenate([validation, data.indices("test")])
    probabilities = _probabilities(model, data, both, device)
    return scorer.ask({"event": "submit", "shape": list(probabilities.shape)}, probabilities.astype("<f4").tobytes())


def _probabilities(model: torch.nn.Module, data: Data, indices: np.ndarray, device: torch.device | str) -> np.ndarray:
    """The class probabilities, float32 (n, classes), of these photos."""
    import torch

    was_training = model.training
    model.eval()
    outputs = []
    with torch.inference_mode():
        for start in range(0, len(indices), EVALUATE_BATCH):
            chosen = indices[start : start + EVALUATE_BATCH]
            # Every batch has the same shape, the last one too: a compiled model would be compiled again for another.
            photos = torch.from_numpy(data.images[np.resize(chosen, EVALUATE_BATCH)]).to(device)
            logits = model(photos.permute(0, 3, 1, 2).float() / 255)
            outputs.append(logits[: len(chosen)].float().softmax(1).cpu())
    model.train(was_training)
    probabilities = torch.cat(outputs).numpy()
    if not np.isfinite(probabilities).all():
        raise ValueError("the model's probabilities are not numbers (NaN or infinite)")
    return probabilities


def rehearse_evaluation(model: torch.nn.Module, data: Data, device: torch.device | str) -> None:
    """What evaluate() does with a model, on one batch of blank photos: a compiled model is compiled for it then.

    Call it before begin_training(), so that neither training nor evaluation waits for it.
    """
    blank = replace(data, images=np.zeros((1, data.image_size, data.image_size, 3), np.uint8))
    _probabilities(model, blank, np.zeros(EVALUATE_BATCH, np.int64), device)


def speed_probe(device: torch.device | str) -> float:
    """How often a second this device does a fixed piece of work now: by which slow slots are known.

    On CUDA, products of matrices that keep all of a large card busy: a small piece would take as long to launch as to
    do, and a card that is throttled would look as fast as any. Elsewhere, a small convolution.
    """
    import torch

    on_cuda = torch.device(device).type == "cuda"
    with torch.inference_mode():
        if on_cuda:
            factor = torch.zeros(PROBE_SIDE, PROBE_SIDE, device=device, dtype=torch.float16)
            product = torch.empty_like(factor)
        else:
            convolution, photos = torch.nn.Conv2d(16, 16, 3, padding=1), torch.zeros(8, 16, 64, 64)

        def work() -> None:
            if on_cuda:
                for _ in range(PROBE_PRODUCTS):
                    torch.mm(factor, factor, out=product)
                torch.cuda.synchronize()
            else:
                convolution(photos)

        work()
        began, times = time.monotonic(), 0
        while (used := time.monotonic() - began) < PROBE_SECONDS:
            work()
            times += 1
    return times / used


class _Scorer:
    """The trial's end of the socket to the scorer: a line of JSON, with bytes behind it, is answered by one."""

    def __init__(self, descriptor: int) -> None:
        self.connection = socket.socket(fileno=os.dup(descriptor))
        self.answers = self.connection.makefile("r")

    @classmethod
    def of_this_trial(cls) -> _Scorer | None:
        named = os.environ.get(SCORER_VARIABLE, "")
        return cls(int(named)) if named.isdecimal() else None

    def ask(self, message: dict[str, object], payload: bytes = b"") -> dict[str, Any]:
        line = json.dumps({**message, "bytes": len(payload)}) + "\n"
        self.connection.sendall(line.encode() + payload)
        return self._answer(self.answers.readline())

    def ask_for_file(self, message: dict[str, object]) -> tuple[dict[str, Any], int]:
        """The answer, and the descriptor of an open file, which comes with a space before it."""
        self.connection.sendall(json.dumps(message).encode() + b"\n")
        first, descriptors, _, _ = socket.recv_fds(self.connection, 1, 1)
        answer = self._answer(first.decode() + self.answers.readline())
        if not descriptors:
            raise DataError("the scorer gave no photos")
        return answer, descriptors[0]

    def _answer(self, line: str) -> dict[str, Any]:
        answer = json.loads(line.strip() or '{"error": "the scorer has gone"}')
        if "error" in answer:
            raise DataError(answer["error"])
        return dict(answer)


# --- the command ------------------------------------------------------------------------------------------------


def report(dataset: Path) -> None:
    """Checks a data set and prints what it holds. Raises DataError if it cannot be used."""
    data, photos, warnings, formats = build(dataset)
    counts = Counter(photo.label for photo in photos)
    print(f"data set   {dataset}")
    print(
        f"constants  TIME_BUDGET {TIME_BUDGET} s, IMAGE_SIZE {IMAGE_SIZE} px, "
        f"BINARY_INFECTION_CLASS {BINARY_INFECTION_CLASS}"
    )
    print(
        f"image size {data.image_size} px" + (" (declared by manifest.json)" if data.image_size != IMAGE_SIZE else "")
    )
    print(f"photos     {len(photos)}; formats: " + ", ".join(f"{n} {name}" for name, n in formats.most_common()))
    print(f"{'class':10} {'photos':>7} {'share':>7}  {'role':18} " + " ".join(f"{part:>10}" for part in PARTS))
    is_declared = data.classes != FIVE_CLASSES
    is_positive, is_not = ("positive", "not positive") if is_declared else ("infected", "not infected")
    for label, name in enumerate(data.classes.names):
        role = is_positive if label in data.classes.positive else is_not
        cells = " ".join(f"{int(((data.part == i) & (data.labels == label)).sum()):>10}" for i in range(len(PARTS)))
        print(f"{name:10} {counts[label]:>7} {counts[label] / len(photos):>7.1%}  {role:18} {cells}")
    rare, common = min(counts.values()), max(counts.values())
    print(f"imbalance  the largest class has {common / rare:.1f} times the photos of the smallest")
    share = data.classes.is_positive(data.labels[data.indices("validation")]).mean()
    majority, answer = (1 - share, is_not) if share <= 0.5 else (share, is_positive)
    print(f'majority   always answering "{answer}" has bin_acc {majority:.4f} on validation')
    for warning in warnings:
        print(f"warning    {warning}")
    print(f"cache      {cache_root() / data.fingerprint}")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="prepare.py",
        description="Checks a data set of class folders, five unless its manifest.json declares others, and builds "
        "its decoded cache; or draws a synthetic one.",
    )
    parser.add_argument("--dataset", type=Path, default=Path("dataset"), help="data set folder (default ./dataset)")
    parser.add_argument("--demo", type=Path, metavar="DIR", help="draw a synthetic data set into DIR, then check it")
    parser.add_argument("--photos", type=int, default=600, help="photos of the synthetic set (default 600)")
    parser.add_argument(
        "--image-size", type=int, default=64, help="pixels that the synthetic set is decoded to (default 64)"
    )
    options = parser.parse_args(arguments)
    if options.photos < 100:
        parser.error(f"--photos is {options.photos}; at least 100, so that every class has some")
    if not SMALLEST_IMAGE <= options.image_size <= IMAGE_SIZE:
        parser.error(f"--image-size is {options.image_size}; from {SMALLEST_IMAGE} to {IMAGE_SIZE}")
    dataset = Path(os.path.abspath(options.demo or options.dataset))
    try:
        if options.demo:
            from search.task.screening.demo_images import draw

            try:
                draw(dataset, options.photos, image_size=options.image_size)
            except ValueError as error:
                raise DataError(str(error)) from error
        report(dataset)
    except DataError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"prepare.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
