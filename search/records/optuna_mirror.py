"""Optuna's own storage of a search's studies, for its dashboard: written beside the search, and never read by it."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna

SHARE = 0.1  # of one core, while the search goes on


class OptunaMirror:
    """Writes trials to an SQLite file, in a thread of its own: a slow disk makes no slot wait."""

    def __init__(self, path: Path, announce: Callable[[str], None] = print) -> None:
        self.path, self.announce = path, announce
        self._waiting: queue.Queue[Callable[[], optuna.trial.FrozenTrial] | None] = queue.Queue()
        self._closing = threading.Event()
        self._closed = threading.Event()
        self._studies: dict[str, tuple[optuna.Study, set[tuple[Any, Any]]]] = {}
        self._thread = threading.Thread(target=self._loop, daemon=True, name="optuna mirror")
        self._thread.start()

    def add(self, trial: Callable[[], optuna.trial.FrozenTrial]) -> None:
        """Takes in a trial, made by this when its turn comes; one that is there already is not doubled."""
        if self._thread.is_alive():
            self._waiting.put(trial)

    def close(self, patience: float = 20.0) -> None:
        """Writes what waits, for so many seconds; the rest is written when the search goes on."""
        self._closing.set()
        self._waiting.put(None)
        self._thread.join(timeout=patience)
        self._closed.set()

    def _loop(self) -> None:
        try:
            while (trial := self._waiting.get()) is not None and not self._closed.is_set():
                began = time.monotonic()
                self._write(trial())
                self._closing.wait((time.monotonic() - began) / SHARE)  # suggestions come first
        except Exception as error:  # a full disk or a locked file must not end the search
            self.announce(f"optuna mirror {self.path}: {type(error).__name__}; the search goes on without it")

    def _write(self, trial: optuna.trial.FrozenTrial) -> None:
        code = trial.user_attrs["code"]
        if code not in self._studies:
            study = optuna.create_study(
                storage=f"sqlite:///{self.path}", study_name=f"code {code}", direction="maximize", load_if_exists=True
            )
            known = {(one.user_attrs.get("experiment"), one.user_attrs.get("seed")) for one in study.trials}
            self._studies[code] = study, known
        study, known = self._studies[code]
        key = (trial.user_attrs["experiment"], trial.user_attrs["seed"])
        if key not in known:
            known.add(key)
            study.add_trial(trial)
