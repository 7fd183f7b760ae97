"""Has the network of a commit made anew by that commit's own files, confined as a trial is; and checks what comes of
it."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import prepare
from search.core.types import SearchError, Settings
from search.model import rebuild
from search.model.chosen import Chosen
from search.model.operating import Operating
from search.system.files import end_of
from search.system.git import Repository
from search.system.process import Limits, run_limited
from search.system.sandbox import confined, is_available
from search.trial import sealed
from search.trial.training import environment_of

SECONDS = 900.0  # after which it is ended
READ_OF_LOG = 2**16  # bytes, the last
ONNX_GAP = 1e-4  # largest difference of a probability, between torch and the ONNX file


@dataclass(frozen=True)
class Rebuilt:
    """probabilities: (n, classes) of the validation photos, by torch. onnx: the file, None where there is none. gap:
    the largest difference of a probability between the two. no_onnx: why there is none; '' if there is."""

    probabilities: np.ndarray
    onnx: Path | None
    gap: float | None
    no_onnx: str


def rebuilt(
    repository: Repository, settings: Settings, data: prepare.Data, chosen: Chosen, at: Operating, work: Path
) -> Rebuilt:
    """work: an empty folder, which it leaves its files in. Raises SearchError if the network cannot be made anew."""
    tree, photos = work / "tree", work / "photos.npy"
    repository.export(chosen.decision.commit, tree)
    np.save(photos, np.asarray(data.images[data.indices("validation")]))
    seal = sealed.folder_of(settings)
    weights = [work / f"{number}.safetensors" for number in range(len(chosen.trials))]
    for path, one in zip(weights, chosen.trials, strict=True):
        shutil.copyfile(sealed.weights_path(seal, one.trial), path)
    spec = {
        "weights": list(map(str, weights)),
        "photos": str(photos),
        "out": str(work),
        **prepare.as_json(data.classes),
        "temperature": at.temperature,
        "threshold": at.threshold,
        "seed": chosen.seeds[0],
        "edited": settings.task.edited_path,
    }
    (work / "spec.json").write_text(json.dumps(spec))
    program = work / "rebuild.py"
    shutil.copyfile(rebuild.__file__, program)
    command = [sys.executable, str(program), str(work / "spec.json")]
    if is_available():
        secret = sealed.withheld(settings.task, settings.dataset, str(seal))
        command = confined(command, [], [work], [*secret, repository.common_folder()], work / "rules.json")
    log = work / "rebuild.log"
    environment = environment_of("", len(os.sched_getaffinity(0)), work, work)
    ended = run_limited(command, tree, environment, log, Limits(SECONDS, None))
    if ended.ended_for or ended.code or not (work / rebuild.TORCH_FILE).exists():
        lines = [line.strip() for line in end_of(log, READ_OF_LOG).splitlines() if line.strip()] or ["no word"]
        raise SearchError(f"its network could not be made anew: {ended.ended_for or lines[-1]}")
    probabilities, failure, onnx = np.load(work / rebuild.TORCH_FILE), work / rebuild.FAILURE_FILE, work / rebuild.ONNX
    if failure.exists():
        return Rebuilt(probabilities, None, None, f"it cannot be exported to ONNX: {failure.read_text().strip()}")
    gap = onnx_gap(onnx, np.load(photos, mmap_mode="r"), probabilities)
    if gap > ONNX_GAP:
        return Rebuilt(probabilities, None, gap, f"its ONNX file differs from torch by {gap:.2g} in a probability")
    return Rebuilt(probabilities, onnx, gap, "")


def onnx_gap(path: Path, photos: np.ndarray, probabilities: np.ndarray) -> float:
    """The largest difference of a probability between an ONNX file and torch, over uint8 photos."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    starts = range(0, len(photos), rebuild.BATCH)
    found = [session.run(["probabilities"], {"photos": photos[at : at + rebuild.BATCH]})[0] for at in starts]
    return float(np.abs(np.concatenate(found) - probabilities).max())
