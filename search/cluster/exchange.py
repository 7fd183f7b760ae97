"""The driver's machine as the others see it: what they need of the search is fetched here, and what they made is left.

A trial that ran elsewhere leaves here just what one of this machine leaves: its commit under its ref, its log, its
sealed predictions and, last of all, its outcome file. So whatever dies when, it counts as finished when that is there.
"""

from __future__ import annotations

import json
import threading
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from search.cluster import git_packs
from search.core.paths import Names, SearchPaths
from search.core.types import SearchError
from search.system.files import write_json
from search.system.git import Repository
from search.trial import sealed


@dataclass(frozen=True)
class Shared:
    """Where the driver's machine has what a search shares."""

    repository: str
    run: str
    tag: str
    base: str
    seal: str
    dataset: str


@dataclass(frozen=True)
class ResultPayload:
    """What a trial leaves. outcome: by codec.encode. commits: a pack of what is new. log: what its log gained after
    log_from bytes, by zlib. validation, test: its probabilities, float32 (n, 5); None if it gave none. weights: a
    safetensors file of what gave them; None if it is not kept."""

    outcome: dict[str, Any]
    commits: bytes
    log_from: int
    log: bytes
    validation: np.ndarray | None
    test: np.ndarray | None
    weights: bytes | None = None

    @property
    def bytes(self) -> int:
        arrays = [array.nbytes for array in (self.validation, self.test) if array is not None]
        files = [self.commits, self.log, self.weights or b""]
        return len(json.dumps(self.outcome)) + sum(map(len, files)) + sum(arrays)


class ArtifactExchange:
    """Every method may be called again after a call that was cut short, and from several threads at once."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.repository = Repository(Path(shared.repository))
        self.names, self.run = Names(shared.tag), SearchPaths(Path(shared.run))
        self.sent = self.received = self.trials = 0
        self._counting = threading.Lock()

    def _count(self, sent: int = 0, received: int = 0, trials: int = 0) -> None:
        with self._counting:
            self.sent, self.received, self.trials = self.sent + sent, self.received + received, self.trials + trials

    def traffic(self) -> dict[str, int]:
        """Bytes that went to other machines and came from them, without what Ray adds, and trials delivered."""
        with self._counting:
            return {"sent": self.sent, "received": self.received, "trials": self.trials}

    # --- commits ---

    def base(self) -> bytes:
        """git_packs.snapshot of the search's first commit."""
        data = git_packs.snapshot(self.repository, self.shared.base)
        self._count(sent=len(data))
        return data

    def commits(self, wanted: str, had: list[str]) -> bytes:
        """git_packs.pack of a commit, for a node that has the base and these."""
        data = git_packs.pack(self.repository, wanted, [self.shared.base, *had])
        self._count(sent=len(data))
        return data

    # --- trials ---

    def mirror(self, slot: int, trial: str, running: dict[str, Any], log_from: int, log: bytes) -> None:
        """What a trial on another machine is doing, so that status and --logs show it as one of this machine's.

        log: what its log gained after log_from bytes, by zlib.
        """
        slot_paths = self.run.slot(slot)
        paths = slot_paths.trial(trial)
        if paths.outcome.exists():
            return  # a message that was under way for longer than its trial
        for left in slot_paths.running_trials():  # of a trial that was lost with its node
            if left != paths:
                left.running.unlink(missing_ok=True)
        paths.root.mkdir(parents=True, exist_ok=True)
        self._add_to_log(paths.log, log_from, log)
        known = {name: value for name, value in running.items() if name != "pid"}  # of another machine's process
        write_json(paths.running, known, synced=False)  # it is for a look, and comes again
        self._count(received=len(log) + len(json.dumps(known)))

    def _add_to_log(self, path: Path, start: int, compressed: bytes) -> None:
        with path.open("r+b" if path.exists() else "wb") as stream:
            stream.seek(start)
            stream.write(zlib.decompress(compressed))

    def deliver(self, payload: ResultPayload) -> None:
        """Takes in all that a trial left."""
        outcome = payload.outcome
        paths = self.run.slot(outcome["slot"]).trial(outcome["trial"])
        if paths.outcome.exists():
            return
        paths.root.mkdir(parents=True, exist_ok=True)
        git_packs.unpack(self.repository, payload.commits)
        self.repository.set_ref(self.names.trial_ref(outcome["trial"]), outcome["commit"])
        self.repository.set_ref(f"refs/heads/{self.names.slot_branch(outcome['slot'])}", outcome["commit"])
        if payload.validation is not None and payload.test is not None:
            sealed.store(Path(self.shared.seal), outcome["trial"], payload.validation, payload.test)
        if payload.weights is not None:
            sealed.store_weights(Path(self.shared.seal), outcome["trial"], payload.weights)
        self._add_to_log(paths.log, payload.log_from, payload.log)
        write_json(paths.outcome, outcome)
        paths.running.unlink(missing_ok=True)
        self._count(received=payload.bytes, trials=1)

    # --- the data set ---

    def images(self) -> list[tuple[str, int]]:
        """(path below the data set, bytes) of every file that the data set consists of."""
        return self._photos

    @cached_property
    def _photos(self) -> list[tuple[str, int]]:
        from search.task.screening import photos  # a task without a data set never asks

        dataset = Path(self.shared.dataset)
        files = [path for path, _ in photos.photo_files(dataset, photos.manifest_of(dataset)[1])]
        files += [name for name in ("groups.csv", "manifest.json") if (dataset / name).exists()]
        return [(path, (dataset / path).stat().st_size) for path in files]

    def image_bytes(self, paths: list[str]) -> list[bytes]:
        """The files' contents. Raises SearchError for a path that is none of the data set's."""
        dataset = Path(self.shared.dataset)
        others = set(paths) - {path for path, _ in self._photos}
        if others:
            raise SearchError(f"not files of the data set: {', '.join(sorted(others)[:3])}")
        found = [(dataset / path).read_bytes() for path in paths]
        self._count(sent=sum(map(len, found)))
        return found
