"""What goes on on a node beside its trials: it is made ready, watched, and left as it was found."""

from __future__ import annotations

import fcntl
import platform
import shutil
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from search.cluster.compatibility import versions_here
from search.cluster.exchange import ArtifactExchange
from search.cluster.node import SearchFolder, cards, node_folder, node_name
from search.cluster.preemption import notice
from search.cluster.remote_trial import begin, deliver, forget, left_here, setup_at
from search.system.git import clean_environment
from search.system.objects import Objects as _needed_by_trials  # noqa: F401  a node without libgit2 is refused
from search.system.process import end_guards
from search.system.sandbox import is_available
from search.trial.run import SlotSetup, running_guards

ABANDONED_SECONDS = 86400.0
SETTLE_SECONDS = 1.0
FREE_SECONDS = 20.0  # a trial whose guard was ended frees its slot within


@dataclass(frozen=True)
class Report:
    """What a node is. cards: by node.cards. left: trials that ended here and were not delivered."""

    name: str
    host: str
    cards: list[dict[str, Any]]
    versions: dict[str, str]
    confines: bool
    left: list[str] = field(default_factory=list)


def report(logical: int, folder: Path | None = None) -> Report:
    """What this machine is. logical: slots of it if it has no GPU, as Ray counts them."""
    name = node_name(folder or node_folder())
    return Report(name, platform.node(), cards(logical), versions_here(), is_available())


class NodeManager:
    """One for each node other than the driver's. setup: a slot's, with the driver's machine's paths."""

    def __init__(self, search: str, setup: SlotSetup, logical: int, exchange: ArtifactExchange) -> None:
        clean_environment()
        self.setup, self.logical, self.exchange = setup, logical, exchange
        self.home = node_folder()
        self.folder = SearchFolder.of(self.home, search)
        self.busy = threading.Lock()

    def arrive(self) -> Report:
        """What this node is, and has left over from an earlier time."""
        self.folder.ending.unlink(missing_ok=True)
        for left in self.home.glob("searches/*/photos"):  # of a search that died while it fetched them
            if left != self.folder.photos and left.stat().st_mtime < time.time() - ABANDONED_SECONDS:
                shutil.rmtree(left, ignore_errors=True)
        found = report(self.logical, self.home)
        return Report(**{**vars(found), "left": [outcome.trial for outcome in left_here(self.folder)]})

    def hand_over(self, trials: list[str]) -> list[str]:
        """Delivers those of the left trials that are wanted still; forgets the others. Those delivered."""
        setup, delivered = setup_at(self.folder, self.setup, ""), []
        for outcome in left_here(self.folder):
            if outcome.trial in trials:
                deliver(setup, outcome, self.setup.settings.base, self.exchange)
                delivered.append(outcome.trial)
            else:
                forget(setup, outcome)
        return delivered

    def get_ready(self) -> str:
        """Makes the repository, and the data set if the task has one; where that is, or '' for in the cache. Raises
        SearchError."""
        with self.busy:
            begin(self.folder, self.setup.settings.base, self.exchange)
            if not self.setup.settings.task.room:
                return ""
            from search.cluster.dataset import find_or_fetch

            is_over = self.folder.ending.exists
            return find_or_fetch(
                self.setup.dataset, self.setup.settings.fingerprint, self.folder.photos, self.exchange, is_over
            )

    def notice(self) -> str:
        """By notice.notice; also what shows that this node lives."""
        return notice(self.home)

    def end(self, wanted: list[str]) -> None:
        """Ends what runs here, delivers what has ended, and removes what the search does not need here any more.

        wanted: trials that begin again when it goes on, unless they left an outcome.
        """
        began = time.time()
        self.folder.root.mkdir(parents=True, exist_ok=True)
        self.folder.ending.touch()
        end_guards(lambda: running_guards(self.folder.run))
        deadline = time.monotonic() + FREE_SECONDS
        for slot in self.folder.run.slots():
            with slot.lock.open("w") as lock:
                while time.monotonic() < deadline:  # its worker may still be writing an outcome
                    try:
                        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        break
                    except BlockingIOError:
                        time.sleep(0.1)
                shutil.rmtree(slot.tree, ignore_errors=True)
        setup = setup_at(self.folder, self.setup, "")
        for outcome in left_here(self.folder):
            if outcome.trial not in wanted or (outcome.crashed and outcome.ended >= began):  # of being ended
                forget(setup, outcome)
            else:
                with suppress(Exception):  # it stays here, and is handed over when the search goes on
                    deliver(setup, outcome, self.setup.settings.base, self.exchange)
        if self.busy.acquire(timeout=max(deadline - time.monotonic(), 1.0)) and not left_here(self.folder):
            self._remove_folder()

    def _remove_folder(self) -> None:
        """Removes what the search has here; again, if a worker that was ended has written on meanwhile."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while self.folder.root.exists() or time.monotonic() < deadline:
            shutil.rmtree(self.folder.root, ignore_errors=True)
            if time.monotonic() > deadline:
                return
            time.sleep(0.2)
