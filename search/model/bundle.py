"""Writes the folder that a model is taken home in: weights, ONNX, threshold, calibration, pictures, card, hashes."""

from __future__ import annotations

import hashlib
import json
import os
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
from search.model import rebuild
from search.model.chosen import Chosen, choose, differs
from search.model.threshold import risk_of, temperature_of, threshold_for
from search.report.search_records import SearchRecords
from search.system.files import end_of
from search.system.git import Repository
from search.system.process import Limits, run_limited
from search.system.sandbox import confined, is_available
from search.task.screening.rates import calibration_error, screen, share_with_interval
from search.trial import sealed
from search.trial.training import environment_of

REBUILD_SECONDS = 900.0
READ_OF_LOG = 2**16  # bytes, the last
ONNX_GAP = 1e-4  # largest difference of a probability, between torch and the ONNX file
PACKAGES = ("torch", "torchvision", "numpy", "pillow", "onnxruntime")
FORMAT = 1  # of screen.json
NEEDED_BESIDE = ("predict.py", "task/screening/decoding.py")  # of search/, for machines without this project


@dataclass(frozen=True)
class Request:
    """What is wanted. sensitivity: of the threshold, on validation photos. commit, seed: None: see chosen.choose."""

    out: Path
    sensitivity: float = 0.95
    commit: str | None = None
    seed: int | None = None
    ensemble: bool = False

    def check(self) -> None:
        """Raises UsageError for what cannot be meant."""
        if not 0 < self.sensitivity <= 1:
            raise UsageError(f"--sensitivity {self.sensitivity}: above 0, at most 1")
        if self.out.exists() and (not self.out.is_dir() or any(self.out.iterdir())):
            raise UsageError(f"--out {self.out}: it is there already; name a folder that is not, or is empty")
        if not self.out.absolute().parent.is_dir():
            raise UsageError(f"--out {self.out}: {self.out.absolute().parent} is no folder")


@dataclass(frozen=True)
class Operating:
    """How probabilities become an answer, with what is known of it on some photos."""

    temperature: float
    threshold: float
    figures: dict[str, Any]


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
        records,
        lambda trial: sealed.weights_path(seal, trial).exists(),
        request.commit,
        request.seed,
        request.ensemble,
    )
    validation = data.indices("validation")
    labels = data.labels[validation]
    if not data.classes.is_positive(labels).any():
        raise SearchError("no validation photo is infected: there is nothing to choose a threshold by")
    given = [sealed.read(seal, one.trial) for one in chosen.trials]
    if any(one is None for one in given):
        raise SearchError(f"what {short(chosen.decision.commit)} was scored by is not in {seal}")
    scored, on_test = (np.mean([one[part] for one in given if one is not None], axis=0) for part in (0, 1))
    operating = operating_point(scored, labels, data.groups[validation], data.classes, request.sensitivity)
    announce(f"{short(chosen.decision.commit)}: {len(chosen.trials)} of its seeds; a minute or less")
    with tempfile.TemporaryDirectory(prefix=".exporting-", dir=request.out.absolute().parent) as made:
        work, out = Path(made) / "work", Path(made) / "out"
        work.mkdir()
        out.mkdir()
        problem = rebuilt(repository, settings, data, chosen, operating, seal, work)
        here = np.load(work / rebuild.TORCH_FILE)
        wrong = differs(here, scored, chosen.trials)
        if wrong:
            raise SearchError(wrong)
        gap = None
        if not problem:
            gap = onnx_gap(work / rebuild.ONNX_FILE, np.asarray(data.images[validation]), here)
            problem = "" if gap <= ONNX_GAP else f"its ONNX file differs from torch by {gap:.2g} in a probability"
        about = {
            "format": FORMAT,
            "search": settings.tag,
            "made": time.strftime("%Y-%m-%d %H:%M:%S"),
            "commit": chosen.decision.commit,
            "description": chosen.decision.description,
            "recommended": chosen.recommended,
            "seeds": chosen.seeds,
            "max_train_seconds": settings.max_train_seconds,
            "classes": list(data.classes.names),
            "positive": list(data.classes.positive),
            "image_size": data.image_size,
            "threshold": operating.threshold,
            "temperature": operating.temperature,
            "wanted_sensitivity": request.sensitivity,
            "validation": operating.figures,
            "test": test_figures(records, data, on_test, operating),
            "subgroups": {},
            "onnx_gap": gap,
            "no_onnx": problem,
            "data": {
                "fingerprint": data.fingerprint,
                **{part: len(data.indices(part)) for part in prepare.PARTS},
                "infected": {
                    part: int(data.classes.is_positive(data.labels[data.indices(part)]).sum()) for part in prepare.PARTS
                },
                "groups": len(set(data.groups.tolist())),
            },
            "versions": {"python": sys.version.split()[0], **versions()},
        }
        write_folder(out, work, repository, records, data, chosen, about, scored, labels)
        if request.out.exists():
            request.out.rmdir()
        shutil.move(out, request.out)
    return about


def operating_point(
    probabilities: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    classes: prepare.Classes,
    sensitivity: float,
) -> Operating:
    """Chosen by these photos alone: the temperature, and the threshold of the risk that reaches a sensitivity."""
    infected = classes.is_positive(labels)
    temperature = temperature_of(probabilities, labels)
    before, risk = risk_of(probabilities, classes.positive), risk_of(probabilities, classes.positive, temperature)
    threshold = threshold_for(risk, infected, sensitivity)
    figures = {
        "calibration_error_before": round(calibration_error(before, infected), 6),
        **figures_at(probabilities, labels, groups, classes, temperature, threshold),
    }
    return Operating(temperature, threshold, figures)


def figures_at(
    probabilities: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    classes: prepare.Classes,
    temperature: float,
    threshold: float,
) -> dict[str, Any]:
    """How a threshold screens photos, with 95 % intervals that respect the groups."""
    infected = classes.is_positive(labels)
    risk = risk_of(probabilities, classes.positive, temperature)
    flagged = risk >= threshold
    usual = screen(probabilities, labels, groups, classes)
    at_threshold = {
        "sensitivity": share_with_interval(flagged[infected], groups[infected]),
        "specificity": share_with_interval(~flagged[~infected], groups[~infected]),
        "flagged": round(float(flagged.mean()), 6),
        "missed": int((~flagged & infected).sum()),
        "false_alarms": int((flagged & ~infected).sum()),
        "calibration_error": round(calibration_error(risk, infected), 6),
    }
    as_scored = {**prepare.accuracies(probabilities, labels, classes), **usual}
    return {
        "photos": len(labels),
        "infected": int(infected.sum()),
        "at_threshold": at_threshold,
        "as_scored": as_scored,
    }


def test_figures(
    records: SearchRecords, data: prepare.Data, probabilities: np.ndarray, operating: Operating
) -> dict[str, Any] | None:
    """The same on the test photos; None unless search.audit has opened them: nothing opens them on the way."""
    if records.audit is None:
        return None
    test = data.indices("test")
    return figures_at(
        probabilities, data.labels[test], data.groups[test], data.classes, operating.temperature, operating.threshold
    )


def versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def rebuilt(
    repository: Repository,
    settings: Settings,
    data: prepare.Data,
    chosen: Chosen,
    operating: Operating,
    seal: Path,
    work: Path,
) -> str:
    """Has the network made anew by its commit's own files, confined as a trial is; why there is no ONNX file, '' if
    there is one. work: a folder of its own. Raises SearchError if it fails."""
    tree, photos = work / "tree", work / "photos.npy"
    repository.export(chosen.decision.commit, tree)
    np.save(photos, np.asarray(data.images[data.indices("validation")]))
    weights = []
    for one in chosen.trials:
        weights.append(work / f"{one.trial}.safetensors")
        shutil.copyfile(sealed.weights_path(seal, one.trial), weights[-1])
    (work / "spec.json").write_text(
        json.dumps(
            {
                "weights": list(map(str, weights)),
                "photos": str(photos),
                "out": str(work),
                "classes": list(data.classes.names),
                "positive": list(data.classes.positive),
                "temperature": operating.temperature,
                "threshold": operating.threshold,
                "seed": chosen.seeds[0],
            }
        )
    )
    program = work / "rebuild.py"
    shutil.copyfile(rebuild.__file__, program)
    command = [sys.executable, str(program), str(work / "spec.json")]
    if is_available():
        secret = sealed.withheld(settings.task, settings.dataset, str(seal))
        command = confined(command, [], [work], [*secret, repository.common_folder()], work / "rules.json")
    environment = environment_of("", len(os.sched_getaffinity(0)), work, work)
    log = work / "rebuild.log"
    ended = run_limited(command, tree, environment, log, Limits(REBUILD_SECONDS, None))
    if ended.ended_for or ended.code or not (work / rebuild.TORCH_FILE).exists():
        lines = [line.strip() for line in end_of(log, READ_OF_LOG).splitlines() if line.strip()] or ["no word"]
        raise SearchError(f"its network could not be made anew: {ended.ended_for or lines[-1]}")
    failure = work / rebuild.FAILURE_FILE
    return f"it cannot be exported to ONNX: {failure.read_text().strip()}" if failure.exists() else ""


def onnx_gap(path: Path, photos: np.ndarray, probabilities: np.ndarray) -> float:
    """The largest difference of a probability between an ONNX file and torch, over uint8 photos."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    gaps = [
        np.abs(session.run(["probabilities"], {"photos": photos[at : at + rebuild.BATCH]})[0] - given).max()
        for at in range(0, len(photos), rebuild.BATCH)
        if len(given := probabilities[at : at + rebuild.BATCH])
    ]
    return float(max(gaps, default=0.0))


def write_folder(
    out: Path,
    work: Path,
    repository: Repository,
    records: SearchRecords,
    data: prepare.Data,
    chosen: Chosen,
    about: dict[str, Any],
    probabilities: np.ndarray,
    labels: np.ndarray,
) -> None:
    """Fills the folder. probabilities, labels: of the validation photos."""
    from search.model.card import card
    from search.model.pictures import draw

    settings = records.settings
    assert settings is not None
    for number, one in enumerate(chosen.trials):
        name = "model.safetensors" if len(chosen.trials) == 1 else f"model-{number}.safetensors"
        shutil.copyfile(work / f"{one.trial}.safetensors", out / name)
    if not about["no_onnx"]:
        shutil.copyfile(work / rebuild.ONNX_FILE, out / rebuild.ONNX_FILE)
    edited = settings.task.edited_path
    (out / Path(edited).name).write_text(repository.file_at(chosen.decision.commit, edited))
    for name in NEEDED_BESIDE:
        source = Path(__file__).parent.parent / name
        shutil.copyfile(source, out / source.name)
    (out / "requirements.txt").write_text("onnxruntime\nnumpy\npillow\n")
    seen = [data.shas[at] for part in ("train", "validation") for at in data.indices(part)]
    (out / "photos.sha256").write_text("".join(f"{sha}\n" for sha in sorted(seen)))
    infected = data.classes.is_positive(labels)
    risk = risk_of(probabilities, data.classes.positive, about["temperature"])
    draw(risk, infected, about["threshold"], f"{len(labels)} validation photos", out / "screen.png")
    (out / "screen.json").write_text(json.dumps(about, indent=2) + "\n")
    (out / "README.md").write_text(card(records, chosen, about))
    files = sorted(path for path in out.iterdir() if path.is_file())
    hashes = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    (out / "hashes.sha256").write_text("".join(hashes))
