"""What lies outside the repository while a search runs: the probabilities that trials gave, and the weights that gave
them.

With the labels of the test photos, which the scorer alone has, the probabilities make the test scores; search.audit
opens them once. The weights are of a few experiments alone; search.export takes them home.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from search.core.paths import cache_root, state_root
from search.core.task import Task
from search.core.types import Settings
from search.system.files import write_aside


def folder_of(settings: Settings) -> Path:
    """Where a search's lie: where it was begun to put them, whoever asks and from whatever home."""
    return Path(settings.seal) if settings.seal else state_root() / "sealed" / id_of(settings)


def id_of(settings: Settings) -> str:
    """A search's name among all searches of all repositories."""
    return hashlib.sha256(f"{settings.tag} {settings.base} {settings.created!r}".encode()).hexdigest()[:24]


def withheld(task: Task, dataset: str, seal: str) -> list[Path]:
    """What no trial and no agent may read: a scorer's labels, the data set wherever it is, every decoded cache of one,
    and the sealed results of every search.

    dataset: its folder; '' if it is not on this machine. seal: the folder that this search's results lie in.
    """
    labels = [Path(task.scorer.labels)] if task.scorer else []
    photos = places_of(Path(dataset)) if dataset else []
    return [*labels, *photos, cache_root(), Path(seal), state_root() / "sealed"]


def places_of(dataset: Path) -> list[Path]:
    """A data set's folder, and all that its links lead to."""
    found = [dataset]
    for folder, folders, names in os.walk(dataset, followlinks=True):
        links = [Path(folder, one) for one in [*folders, *names] if os.path.islink(os.path.join(folder, one))]
        found += [Path(os.path.realpath(one)) for one in links]
    return list(dict.fromkeys(found))


def store(folder: Path, trial: str, validation: np.ndarray, test: np.ndarray) -> None:
    """Keeps a trial's probabilities, float32 (n, 5) each."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / f"{trial}.npz"
    write_aside(path, lambda stream: np.savez(stream, validation=validation, test=test), synced=True)


def read(folder: Path, trial: str) -> tuple[np.ndarray, np.ndarray] | None:
    """(validation, test) probabilities of a trial; None if they are gone."""
    try:
        with np.load(folder / f"{trial}.npz", allow_pickle=False) as saved:
            return saved["validation"], saved["test"]
    except (OSError, KeyError, ValueError):
        return None


def weights_path(folder: Path, trial: str) -> Path:
    """Where the weights lie that a trial was scored with, a safetensors file, if they are kept."""
    return folder / f"{trial}.safetensors"


def read_weights(folder: Path, trial: str) -> bytes | None:
    """The file's content; None if there is none."""
    try:
        return weights_path(folder, trial).read_bytes()
    except OSError:
        return None


def store_weights(folder: Path, trial: str, content: bytes) -> None:
    """Keeps the weights that a trial was scored with."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_aside(weights_path(folder, trial), lambda stream: stream.write(content))


def keep_weights(folder: Path, wanted: Callable[[int], bool]) -> None:
    """Removes the weights of all experiments but those that are wanted, by their numbers."""
    for path in folder.glob("*.safetensors"):
        named = re.match(r"e(\d+)-", path.name)
        if named and not wanted(int(named[1])):
            path.unlink(missing_ok=True)


def forget(folder: Path, trial: str) -> None:
    """Removes a trial's probabilities and weights, once they lie elsewhere."""
    (folder / f"{trial}.npz").unlink(missing_ok=True)
    weights_path(folder, trial).unlink(missing_ok=True)
