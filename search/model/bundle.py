"""Writes the folder that a model is taken home in: weights, ONNX, threshold, calibration, pictures, card, hashes."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

import prepare
from search.core.types import SearchError, Settings, UsageError, short
from search.model.chosen import Chosen, choose, differs, weights_names
from search.model.operating import Operating, Photos, figures_at, operating_point
from search.model.predictor import ABOUT, MODEL, SEEN
from search.model.rebuilt import Rebuilt, rebuilt
from search.model.subgroups import FEWEST, figures_of_subgroups, read_subgroups
from search.report.search_records import SearchRecords
from search.system.git import Repository
from search.task.screening.photos import manifest_of, photo_files, read_groups, sha_of
from search.trial import sealed

PACKAGES = ("torch", "torchvision", "numpy", "pillow", "onnxruntime")
FORMAT = 1  # of screen.json
BESIDE = {"predict.py": "model/predictor.py", "decoding.py": "task/screening/decoding.py"}  # files of search/
HASHES = "hashes.sha256"
WORST = 5  # photos of each kind of error that the card names


@dataclass(frozen=True)
class Request:
    """What is wanted. sensitivity: of the threshold, on validation photos. commit, seed: None: see chosen.choose.
    dataset: where the photos are now."""

    out: Path
    dataset: Path
    sensitivity: float = 0.95
    commit: str | None = None
    seed: int | None = None
    ensemble: bool = False

    def check(self) -> None:
        """Raises UsageError for what cannot be meant."""
        if not 0 < self.sensitivity <= 1:
            raise UsageError(f"--sensitivity {self.sensitivity}: above 0, at most 1")
        if self.seed is not None and self.ensemble:
            raise UsageError("--seed and --ensemble exclude each other: an ensemble has all its seeds")
        if self.out.exists() and (not self.out.is_dir() or any(self.out.iterdir())):
            raise UsageError(f"--out {self.out}: it is there already; name a folder that is not, or is empty")
        if not self.out.absolute().parent.is_dir():
            raise UsageError(f"--out {self.out}: {self.out.absolute().parent} is no folder")


def export(
    repository: Repository,
    records: SearchRecords,
    data: prepare.Data,
    request: Request,
    announce: Callable[[str], None],
) -> dict[str, Any]:
    """Writes it all, or nothing; what screen.json says. Raises SearchError."""
    settings = records.settings
    assert settings is not None
    seal = sealed.folder_of(settings)
    chosen = choose(
        records, lambda trial: sealed.weights_path(seal, trial).exists(), request.commit, request.seed, request.ensemble
    )
    validation, test = (photos_scored(settings, data, chosen, part) for part in ("validation", "test"))
    if not validation.infected.any():
        raise SearchError("no validation photo is infected: there is nothing to choose a threshold by")
    at = operating_point(validation, request.sensitivity)
    subgroups = subgroups_of(data, validation, at, request.dataset)
    announce(f"{short(chosen.decision.commit)}: seeds {', '.join(map(str, chosen.seeds))}; this takes a minute or less")
    with tempfile.TemporaryDirectory(prefix=".exporting-", dir=request.out.absolute().parent) as made:
        work, out = Path(made) / "work", Path(made) / "out"
        work.mkdir()
        out.mkdir()
        model = rebuilt(repository, settings, data, chosen, at, work)
        wrong = differs(model.probabilities, validation.probabilities, chosen.trials)
        if wrong:
            raise SearchError(wrong)
        about = {
            "format": FORMAT,
            "search": settings.tag,
            "made": time.strftime("%Y-%m-%d %H:%M:%S"),
            "commit": chosen.decision.commit,
            "description": chosen.decision.description,
            "recommended": chosen.recommended,
            "seeds": chosen.seeds,
            "max_train_seconds": settings.max_train_seconds,
            **prepare.as_json(data.classes),
            "image_size": data.image_size,
            "threshold": at.threshold,
            "temperature": at.temperature,
            "wanted_sensitivity": request.sensitivity,
            "validation": figures_at(validation, at),
            # Nothing opens the test photos on the way: search.audit does, once.
            "test": figures_at(test, at) if records.audit is not None else None,
            "errors": errors_of(validation, at, [data.shas[place] for place in data.indices("validation")]),
            "subgroups": subgroups,
            "onnx_gap": model.gap,
            "no_onnx": model.no_onnx,
            "data": about_data(data),
            "versions": {"python": sys.version.split()[0], **versions()},
        }
        write_folder(out, work, repository, records, data, chosen, about, model, validation)
        if request.out.exists():
            request.out.rmdir()
        shutil.move(out, request.out)
    return about


def photos_scored(settings: Settings, data: prepare.Data, chosen: Chosen, part: str) -> Photos:
    """What the trials were scored by, of a part: the mean of their probabilities. Raises SearchError if it has gone."""
    seal, place = sealed.folder_of(settings), ("validation", "test").index(part)
    found = [read[place] for one in chosen.trials if (read := sealed.read(seal, one.trial)) is not None]
    if len(found) < len(chosen.trials):
        raise SearchError(f"what {short(chosen.decision.commit)} was scored by is not in {seal} any more")
    its = data.indices(part)
    return Photos(np.mean(found, axis=0), data.labels[its], data.groups[its], data.classes)


def about_data(data: prepare.Data) -> dict[str, Any]:
    """How many photos, and which."""
    infected = data.classes.is_positive(data.labels)
    return {
        "fingerprint": data.fingerprint,
        **{part: len(data.indices(part)) for part in prepare.PARTS},
        "infected": {part: int(infected[data.indices(part)].sum()) for part in prepare.PARTS},
        "groups": len(set(data.groups.tolist())),
    }


def errors_of(photos: Photos, at: Operating, shas: list[str]) -> dict[str, list[dict[str, Any]]]:
    """The photos that it is furthest off with at the threshold, by their hashes: infected ones that it misses, and
    false alarms."""
    risk, infected = photos.risk(at.temperature), photos.infected
    flagged = risk >= at.threshold

    def told(places: np.ndarray) -> list[dict[str, Any]]:
        names = photos.classes.names
        return [
            {"sha256": shas[place], "class": names[photos.labels[place]], "risk": round(float(risk[place]), 4)}
            for place in places[:WORST]
        ]

    order = np.argsort(risk, kind="stable")
    return {
        "missed": told(order[(infected & ~flagged)[order]]),
        "false_alarms": told(order[::-1][(~infected & flagged)[order[::-1]]]),
    }


def subgroups_of(data: prepare.Data, validation: Photos, at: Operating, dataset: Path) -> list[dict[str, Any]]:
    """By subgroups.csv, and by the large groups of groups.csv; nothing where the photos are not there any more. Raises
    SearchError if a table cannot be read."""
    if not dataset.is_dir():
        return []
    try:
        named = read_subgroups(dataset)
        groups = read_groups(dataset)
        counts = np.bincount(validation.groups)
        if len(counts[counts >= FEWEST]) > 1 and groups:
            named = {"group": groups, **named}
        if not named:
            return []
        path_of = {sha_of(dataset / path): path for path, _ in photo_files(dataset, manifest_of(dataset)[1])}
    except prepare.DataError as error:
        raise SearchError(str(error)) from error
    paths = [path_of.get(data.shas[place], "") for place in data.indices("validation")]
    return figures_of_subgroups(validation, at, paths, named)


def versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def write_folder(
    out: Path,
    work: Path,
    repository: Repository,
    records: SearchRecords,
    data: prepare.Data,
    chosen: Chosen,
    about: dict[str, Any],
    model: Rebuilt,
    validation: Photos,
) -> None:
    """Fills the folder. work: where the weights lie."""
    from search.model.card import card
    from search.model.pictures import draw

    settings = records.settings
    assert settings is not None
    for number, name in enumerate(weights_names(len(chosen.trials))):
        shutil.copyfile(work / f"{number}.safetensors", out / name)
    if model.onnx is not None:
        shutil.copyfile(model.onnx, out / MODEL)
    edited = settings.task.edited_path
    (out / Path(edited).name).write_text(repository.file_at(chosen.decision.commit, edited))
    for name, source in BESIDE.items():
        shutil.copyfile(Path(__file__).parent.parent / source, out / name)
    (out / "requirements.txt").write_text("onnxruntime\nnumpy\npillow\n")
    seen = [data.shas[place] for part in ("train", "validation") for place in data.indices(part)]
    (out / SEEN).write_text("".join(f"{sha}\n" for sha in sorted(seen)))
    risk, words = validation.risk(about["temperature"]), f"{len(validation.labels)} validation photos"
    draw(risk, validation.infected, about["threshold"], words, out / "screen.png")
    (out / ABOUT).write_text(json.dumps(about, indent=2) + "\n")
    (out / "README.md").write_text(card(records, chosen, about))
    files = sorted(path for path in out.iterdir() if path.is_file())
    hashes = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    (out / HASHES).write_text("".join(hashes))
