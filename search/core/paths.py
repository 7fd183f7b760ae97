"""Every path and ref of a search, as properties of one small class."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

BESIDE_A_TAG = r"-(?:gpu\d+|inbox|yours-[0-9a-f]{7})"  # what the names of a search's further branches end with
PROJECT = Path(__file__).resolve().parents[2]  # the folder that has train.py and prepare.py


def state_root() -> Path:
    """Where searches keep what belongs to no repository: $AUTORESEARCH_STATE, or the user's folder of application
    state."""
    named = os.environ.get("AUTORESEARCH_STATE")
    base = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return Path(named).absolute() if named else base.absolute() / "autoresearch"


def cache_root() -> Path:
    """Where decoded data sets lie, of all searches; prepare.py, which is handed to trials, says the same."""
    named = os.environ.get("AUTORESEARCH_CACHE")
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(named).absolute() if named else base.absolute() / "autoresearch"


LONGEST_TEMPORARY = 48  # characters of a folder for temporary files; the path of a socket in it may have 107


def temporary_root() -> Path:
    """Where the temporary files of trials and agents lie, each in a folder of its own; this user's alone.

    A path of the repository's would be too long for the sockets that a data loader's workers meet at.
    """
    base = tempfile.gettempdir()
    return Path(base if len(base) <= LONGEST_TEMPORARY else "/tmp", f"autoresearch-{os.getuid()}")


def temporary_folder(owner: Path) -> Path:
    """The one that belongs to a folder: the same at every call, so that what a kill left is found again."""
    return temporary_root() / hashlib.sha256(str(owner).encode(errors="surrogateescape")).hexdigest()[:12]


@dataclass(frozen=True)
class Names:
    """Branches and refs of a tag, by their full names."""

    tag: str

    @property
    def branch(self) -> str:
        return f"autoresearch/{self.tag}"

    def slot_branch(self, slot: int) -> str:
        return f"autoresearch/{self.tag}-gpu{slot}"

    @property
    def incumbent_ref(self) -> str:
        return f"refs/heads/{self.branch}"

    @property
    def inbox_ref(self) -> str:
        return f"refs/heads/{self.branch}-inbox"

    def user_ref(self, commit: str) -> str:
        """Where a commit is kept that somebody else put on the incumbent's branch."""
        return f"refs/heads/{self.branch}-yours-{commit[:7]}"

    @property
    def requests(self) -> str:
        """Where other commands leave what they want of a running search."""
        return f"{self.refs}/requests"

    @property
    def lock_files(self) -> tuple[str, ...]:
        """Globs, below git's folder, of the lock files of this search's refs."""
        return f"{self.refs}/**/*.lock", f"{self.incumbent_ref}.lock", f"{self.incumbent_ref}-gpu*.lock"

    @property
    def refs(self) -> str:
        return f"refs/autoresearch/{self.tag}"

    @property
    def journal(self) -> str:
        return f"{self.refs}/journal"

    def trial_ref(self, trial: str) -> str:
        return f"{self.refs}/trials/{trial}"

    def proposal_ref(self, number: int) -> str:
        return f"{self.refs}/proposals/{number:04d}"

    def frontier_ref(self, step: int) -> str:
        return f"{self.refs}/frontier/{step:04d}"


@dataclass(frozen=True)
class SearchPaths:
    """Files of a search: runs/<tag>/… in the repository; none of them is in git."""

    root: Path

    @classmethod
    def of(cls, repository: Path, tag: str) -> SearchPaths:
        """Those of a tag, in the repository with this root."""
        return cls(repository / "runs" / tag)

    @property
    def lock(self) -> Path:
        return self.root / ".lock"

    @property
    def output(self) -> Path:
        """What a search in the background prints."""
        return self.root / "launch.log"

    @property
    def results(self) -> Path:
        return self.root / "results.tsv"

    @property
    def settings(self) -> Path:
        return self.root / "settings.json"

    @property
    def trials(self) -> Path:
        return self.root / "trials.jsonl"

    @property
    def decisions(self) -> Path:
        return self.root / "decisions.jsonl"

    @property
    def proposals(self) -> Path:
        return self.root / "proposals.jsonl"

    @property
    def audit(self) -> Path:
        return self.root / "audit.json"

    @property
    def notes(self) -> Path:
        """A person's, for the agent; read anew at each turn."""
        return self.root / "notes.md"

    @property
    def summary(self) -> Path:
        return self.root / "analysis_summary.json"

    @property
    def agent(self) -> Path:
        """Folders of the agent's turns, and of smoke runs."""
        return self.root / "agent"

    @property
    def view(self) -> Path:
        """The state at a glance, as the driver saw it last."""
        return self.root / "view.json"

    @property
    def study(self) -> Path:
        return self.root / "optuna.db"

    @property
    def ray(self) -> Path:
        return self.root / "ray"

    def slot(self, number: int) -> SlotPaths:
        return SlotPaths(self.root / f"gpu{number}", number)

    def slot_results(self) -> list[Path]:
        """The slots' results.tsv files that are there."""
        return [slot.results for slot in self.slots() if slot.results.exists()]

    def slots(self) -> list[SlotPaths]:
        """The slots that have a folder, in order of their numbers."""
        numbers = (p.name[3:] for p in self.root.glob("gpu*") if p.is_dir() and p.name[3:].isdigit())
        return [self.slot(number) for number in sorted(map(int, numbers))]


@dataclass(frozen=True)
class SlotPaths:
    """Files of one slot."""

    root: Path
    number: int

    @property
    def tree(self) -> Path:
        return self.root / "tree"

    @property
    def results(self) -> Path:
        return self.root / "results.tsv"

    @property
    def lock(self) -> Path:
        return self.root / ".lock"

    @property
    def trials(self) -> Path:
        return self.root / "trials"

    @property
    def temporary(self) -> Path:
        """The temporary files of the trial that runs there."""
        return temporary_folder(self.root)

    def trial(self, trial: str) -> TrialPaths:
        return TrialPaths(self.trials / trial)

    def running_trials(self) -> list[TrialPaths]:
        """Those that say that they run, in order of their names: one, unless a worker was killed."""
        return [TrialPaths(path.parent) for path in sorted(self.trials.glob("*/running.json"))]


@dataclass(frozen=True)
class TrialPaths:
    """Files of one trial, which the trial alone writes."""

    root: Path

    @property
    def log(self) -> Path:
        return self.root / "run.log"

    @property
    def running(self) -> Path:
        return self.root / "running.json"

    @property
    def outcome(self) -> Path:
        return self.root / "outcome.json"

    @property
    def scratch(self) -> Path:
        """What compilers keep for it; gone with it."""
        return self.root / "scratch"
