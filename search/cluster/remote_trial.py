"""A trial on a machine that is not the driver's: fetches its commit, runs as at home, and delivers what it left."""

from __future__ import annotations

import json
import shutil
import threading
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from search.cluster import git_packs
from search.cluster.exchange import ArtifactExchange, ResultPayload
from search.cluster.node import SearchFolder
from search.core.codec import encode
from search.core.paths import Names, TrialPaths
from search.core.types import Outcome, SearchError, Work
from search.decide.early_stop import Yardstick
from search.system.files import read_from
from search.system.git import Repository
from search.trial import sealed
from search.trial.ahead import Ahead
from search.trial.run import NOTHING_STOPPED, SlotSetup, read_outcome, run_trial

MIRROR_SECONDS = 5.0  # the exchange is one process: a thousand slots are two hundred messages a second
MOST_MIRRORED = 2**20  # bytes of a log at a time
KNOWN_COMMITS = 16  # named to the exchange: enough that what comes is small, few enough that asking is


def setup_at(folder: SearchFolder, setup: SlotSetup, dataset: str) -> SlotSetup:
    """A slot's setup with this node's paths in place of the driver's machine's."""
    return replace(
        setup, repository=str(folder.repository), run=str(folder.run.root), seal=str(folder.sealed), dataset=dataset
    )


def folder_of(setup: SlotSetup) -> SearchFolder:
    """Of a setup by setup_at."""
    return SearchFolder(Path(setup.run).parent)


def begin(folder: SearchFolder, base: str, exchange: ArtifactExchange) -> None:
    """Makes the search's repository on this node, if it is not there; frees it of what a killed git has locked."""
    if not git_packs.is_begun(folder.repository, base):
        git_packs.begin_bare(folder.repository, base, exchange.base())
    Repository(folder.repository).remove_abandoned_locks("refs/**/*.lock", "packed-refs.lock", "config.lock")


def run_remotely(
    setup: SlotSetup,
    work: Work,
    exchange: ArtifactExchange,
    ahead: Ahead | None = None,
    yardstick: Yardstick = NOTHING_STOPPED,
) -> Outcome:
    """Runs one trial by trial.run_trial and delivers it. setup: by setup_at."""
    folder = folder_of(setup)
    wanted = work.commit or work.experiment.parent
    fetch(Repository(folder.repository), setup, wanted, exchange)
    paths = folder.run.slot(setup.slot).trial(work.trial_id)
    with Mirror(setup.slot, work.trial_id, paths, exchange) as mirror:
        outcome = run_trial(setup, work, ahead, yardstick)
    if folder.ending.exists():
        raise SearchError("the search is ending")  # this trial was ended with it, or is begun again when it goes on
    deliver(setup, outcome, wanted, exchange, mirror.log_from)
    return outcome


def fetch(repository: Repository, setup: SlotSetup, commit: str, exchange: ArtifactExchange) -> None:
    """Makes a commit with its files be here. Only the ref says that all of it is: a commit comes before its files."""
    ref = f"refs/autoresearch-node/have/{commit}"
    with repository.lock():  # another slot of this node may want the same
        if commit != setup.settings.base and repository.commit_of(ref) is None:
            git_packs.unpack(repository, exchange.commits(commit, _known(repository, setup.settings.tag)))
            repository.set_ref(ref, commit)


def deliver(setup: SlotSetup, outcome: Outcome, before: str, exchange: ArtifactExchange, log_from: int = 0) -> None:
    """Sends what a trial left, then forgets it here. before: a commit that the exchange has. log_from: bytes of its log
    that it has."""
    paths = folder_of(setup).run.slot(outcome.slot).trial(outcome.trial)
    validation, test = sealed.read(Path(setup.seal), outcome.trial) or (None, None)
    exchange.deliver(
        ResultPayload(
            encode(outcome),
            git_packs.pack(Repository(Path(setup.repository)), outcome.commit, [before]),
            log_from,
            zlib.compress(read_from(paths.log, log_from)),
            validation,
            test,
            sealed.read_weights(Path(setup.seal), outcome.trial),
        )
    )
    forget(setup, outcome)


def forget(setup: SlotSetup, outcome: Outcome) -> None:
    """Removes what a trial left on this node."""
    shutil.rmtree(folder_of(setup).run.slot(outcome.slot).trial(outcome.trial).root, True)
    sealed.forget(Path(setup.seal), outcome.trial)


def _known(repository: Repository, tag: str) -> list[str]:
    """The latest commits of trials that ran here."""
    return repository.run(
        "for-each-ref",
        "--sort=-creatordate",
        f"--count={KNOWN_COMMITS}",
        "--format=%(objectname)",
        f"{Names(tag).refs}/trials",
    ).split()


@dataclass
class Mirror:
    """Shows a trial's progress on the driver's machine while it runs, in a thread of its own; use as a context.

    Best effort: what does not arrive is in the payload. log_from: bytes of the log that have arrived.
    """

    slot: int
    trial: str
    paths: TrialPaths
    exchange: ArtifactExchange
    log_from: int = 0

    def __enter__(self) -> Mirror:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()

    def _loop(self) -> None:
        shown: dict[str, Any] = {}
        while not self._over.wait(MIRROR_SECONDS):
            try:
                running = json.loads(self.paths.running.read_text())
                gained = read_from(self.paths.log, self.log_from, MOST_MIRRORED)
                if gained or running != shown:
                    self.exchange.mirror(self.slot, self.trial, running, self.log_from, zlib.compress(gained))
                    shown, self.log_from = running, self.log_from + len(gained)
            except Exception:  # it has not begun, or the driver's machine is out of reach for a moment
                continue


def left_here(folder: SearchFolder) -> list[Outcome]:
    """Outcomes of trials that ended on this node and were not delivered."""
    paths = [TrialPaths(path.parent) for slot in folder.run.slots() for path in slot.trials.glob("*/outcome.json")]
    return [outcome for outcome in map(read_outcome, paths) if outcome is not None]
