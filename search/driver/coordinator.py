"""The search's one writer: hands out work, records outcomes, decides, moves branches, writes everything in runs/."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable
from dataclasses import replace
from typing import IO, Any

from search.core.paths import Names, SearchPaths
from search.core.sources import Commits
from search.core.state import State, TrialKey, apply, rebuild, record_of, start_record
from search.core.types import (
    Decision,
    Outcome,
    Proposal,
    SearchError,
    Settings,
    Slot,
    Turn,
    UsageError,
    Work,
)
from search.decide.decision import next_decision
from search.decide.plan import Limit, Pause, SlotContext, next_work
from search.decide.races import machines_of
from search.decide.speed import calibration, is_gpu, slow_note
from search.decide.studies import Studies
from search.records.journal import load_state
from search.records.ledgers import RunFiles
from search.system.git import SHORT, Repository
from search.trial.footer import WAS_OUT_OF_MEMORY
from search.trial.run import read_outcome

SHOWN_RATES = ("sensitivity", "specificity")  # beside bin_acc, which says little where few are infected


class BaselineFailed(SearchError):
    """The baseline crashed: there is nothing to search around. The message ends with its traceback."""

    def __init__(self, outcome: Outcome) -> None:
        advice = "mend train.py, commit it, and begin another search with --tag"
        super().__init__(f"the baseline failed: {outcome.reason}; {advice}\n{outcome.traceback}".rstrip())


class Coordinator:
    """A search in progress. Only one lives per tag: it holds the lock of runs/<tag> until close().

    tell: gets one line for each thing that a person should see.
    """

    def __init__(self, repository: Repository, tag: str, tell: Callable[[str], None] = print) -> None:
        self.repository, self.names, self.tell = repository, Names(tag), tell
        self.paths = SearchPaths(repository.root / "runs" / tag)
        self.files = RunFiles(self.paths)
        self.in_flight: set[TrialKey] = set()
        self.expected: set[int] = set()  # slots that are coming up
        self.limit = Limit()
        self.rerun_slow = False  # run a trial again, once, whose slot was slow
        self.stopping = False  # nothing new is begun
        self._lock = self._take_lock()
        self.since = time.time()  # what was asked before was asked of another driver

    def _take_lock(self) -> IO[str]:
        self.paths.root.mkdir(parents=True, exist_ok=True)
        stream = self.paths.lock.open("a+")
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            stream.close()
            raise SearchError(
                f"search {self.names.tag} is running already: python -m search.status {self.names.tag}"
            ) from error
        return stream

    def close(self) -> None:
        """Gives the lock back."""
        self._lock.close()

    # --- beginning and going on ---

    def begin(self, settings: Settings) -> None:
        """Starts a fresh search. Raises UsageError where another driver was first to begin one of this name."""
        if self.repository.commit_of(self.names.journal) is not None:
            raise UsageError(f"--tag {self.names.tag}: a search of this name exists; --resume {self.names.tag} goes on")
        self.repository.append_record(self.names.journal, record_of("search", settings))
        self.restore()

    def resume(self) -> None:
        """Rebuilds a search from its journal in git, and takes in the outcomes of trials that ended unrecorded.

        Raises UsageError where there is no such search.
        """
        load_state(self.repository, self.names.tag, "--resume ")
        self.repository.remove_abandoned_locks(*self.names.lock_files)
        self.restore()
        self._journal({"event": "session"})
        for work in self.state.unfinished():
            self.take_left(work)
        self._decide()

    def restore(self) -> None:
        """Rebuilds the state from the journal, and everything that follows from it."""
        records = self.repository.read_records(self.names.journal)
        self.state: State = rebuild(records)
        self.settings = self.state.settings
        self.commits = Commits(self.settings, lambda commit: self.repository.file_at(commit, "train.py"))
        for experiment in self.state.experiments.values():
            if experiment.commit:
                self.commits.edited_from(experiment.commit, experiment.parent)
        for decision in self.state.decisions:
            self.commits.edited_from(decision.commit, self.state.experiments[decision.experiment].parent)
        self.studies = Studies(self.state, self.commits, self.paths.study, records)
        self._write_branches()
        self.files.write_all(self.state)

    def _left_outcome(self, work: Work, slot: int | None = None) -> Outcome | None:
        """The outcome file that a trial left in its slot's folder; where the slot is not known, in any."""
        for place in self.paths.slots() if slot is None else [self.paths.slot(slot)]:
            outcome = read_outcome(place.trial(work.trial_id))
            if outcome is not None:
                return outcome
        return None

    # --- slots ---

    def enrol(
        self, number: int, node: str, gpu: str, host: str = "", model: str = "", memory_mb: float | None = None
    ) -> Slot:
        """A GPU has come. number: by State.number_of."""
        slot = Slot(number, node, host or node, gpu, model, memory_mb)
        if slot.number not in self.state.present or self.state.slots.get(slot.number) != slot:
            self._journal(record_of("slot", slot))
        return slot

    def leave(self, number: int, reason: str) -> None:
        """A slot has gone; what it ran is told by lost_with_its_node, or came before."""
        if number in self.state.present:
            self._journal({"event": "slot_left", "number": number, "reason": reason})
            self.reconsider()

    def reconsider(self) -> None:
        """Decides what time alone has made decidable, as when the last slot of a kind has been gone for long."""
        if self.state.decisions:
            self._decide()

    def lost_with_its_node(self, work: Work, slot: int) -> None:
        """A trial whose node has gone says nothing about its experiment: it is run again, by the next free slot."""
        if self.take_left(work, slot):
            return
        self.in_flight.discard((work.experiment.number, work.seed))
        self.paths.slot(slot).trial(work.trial_id).running.unlink(missing_ok=True)
        self.tell(f"lost    {work.trial_id} on gpu{slot}: its node has gone; it is run again")

    def take_left(self, work: Work, slot: int | None = None) -> bool:
        """Records the outcome that a trial has left; False where there is none."""
        outcome = self._left_outcome(work, slot)
        if outcome is not None and outcome.trial not in self.state.set_aside:
            self.record(outcome)
        return outcome is not None

    # --- work and outcomes ---

    def next_work(self, slot: int) -> Work | Pause:
        """The next trial for a free slot, journalled before it is handed out.

        Raises SearchError where nothing runs on this machine any more, not even the incumbent.
        """
        if self.stopping:
            return Pause.WAIT if self.in_flight else Pause.FINISHED
        work = next_work(
            self.state,
            self.in_flight,
            self.limit,
            self.commits,
            self.studies.suggest,
            SlotContext(slot, self.state.present | self.expected | {slot}, machines_of(self.state)),
        )
        if work is Pause.BROKEN:
            last = list(self.state.outcomes.values())[-1]
            raise SearchError(
                f"the last {self.state.crashes_in_a_row} trials crashed, the incumbent's too, which had run before: "
                f"something is wrong with this machine ({last.reason}); see gpu{last.slot}/trials/{last.trial}/run.log "
                f"in {self.paths.root}, mend it, then --resume {self.names.tag}"
            )
        if isinstance(work, Pause):
            return work
        if work.experiment.number not in self.state.experiments:
            self._journal(record_of("experiment", work.experiment))
            if work.experiment.commit:
                self.commits.edited_from(work.experiment.commit, work.experiment.parent)
            self.studies.begun(work.experiment)
        self._journal(start_record(work))
        self.in_flight.add((work.experiment.number, work.seed))
        return work

    def record(self, outcome: Outcome) -> None:
        """Takes in one trial's outcome, once, and decides what can be decided.

        Raises BaselineFailed where the baseline crashed before any of its trials succeeded.
        """
        run = (outcome.experiment, outcome.seed)
        self.in_flight.discard(run)
        if run in self.state.outcomes:
            return
        note = self._slow_note(outcome)
        if note and self.rerun_slow and self.state.started[run].attempt == 1:
            self.tell(f"slow    {outcome.trial} on gpu{outcome.slot}: {note}; it is run again")
            self._journal({"event": "slow", "trial": outcome.trial})
            return  # it has begun and has no outcome: the next free slot runs it
        here = self.state.memory_of(outcome.slot)
        if outcome.reason.startswith(WAS_OUT_OF_MEMORY) and here and self.state.has_larger(here, self.state.present):
            self.tell(
                f"small   {outcome.trial} on gpu{outcome.slot}: {outcome.reason}; it is run again on a larger GPU"
            )
            about = {"trial": outcome.trial, "experiment": run[0], "seed": run[1], "memory_mb": here}
            self._journal({"event": "too_small", **about})
            return
        outcome = replace(outcome, speed=outcome.speed | ({"slow": note} if note else {}))
        self._journal(record_of("outcome", outcome))
        self.files.add_outcome(outcome)
        if outcome.experiment in self.state.verdicts:
            self.files.rewrite(self.state)  # one more seed in its row's mean
        self.studies.told(outcome)
        if outcome.experiment == 0 and all(other.crashed for other in self.state.outcomes_of(0)):
            raise BaselineFailed(outcome)
        self._decide()
        if outcome.crashed and outcome.experiment not in {d.experiment for d in self.state.decisions[-1:]}:
            self.tell(f"crash   {outcome.trial} on gpu{outcome.slot}: {outcome.reason}")  # no row tells it

    def _slow_note(self, outcome: Outcome) -> str:
        """Whether the slot was slower than it was in its earlier trials, by its probes; logical slots share the cores,
        and are always now slower, now faster."""
        if not is_gpu(outcome.machine):
            return ""
        earlier = [other for other in self.state.outcomes.values() if other.slot == outcome.slot]
        probes = [float(other.speed["probe"]) for other in earlier if other.speed.get("probe")]
        return slow_note(outcome.speed.get("probe"), calibration(probes))

    def record_audit(self, found: dict[str, Any]) -> None:
        """Records that the test photos are spent, and what they said."""
        self._journal({**found, "event": "audit"})
        self.files.rewrite(self.state)

    # --- proposals ---

    def begin_turn(self, agent: str, asked: int) -> Turn:
        """Asks the agent; journalled, so that a round has one turn."""
        turn = Turn(len(self.state.turns) + 1, agent, asked, self.state.done, self.state.incumbent_commit, time.time())
        self._journal(record_of("turn", turn))
        return turn

    def identities(self) -> dict[str, str]:
        """What was tried or refused before, by recipe.identity -> what to call it."""
        found = {one.identity: f"proposal {one.number}" for one in self.state.proposals if one.identity}
        for experiment in self.state.experiments.values():
            found[self.commits.identity(experiment)] = f"experiment {experiment.number} ({experiment.description})"
        return found

    def take(self, proposal: Proposal) -> Proposal:
        """Takes in what became of a proposal, once; numbered, and refused where another came first with the same."""
        for known in self.state.proposals:
            if proposal.origin and known.origin == proposal.origin:
                return known
        if proposal.commit and not proposal.refused:
            proposal = replace(proposal, refused=self._outside_its_axes(proposal))
        twin = self.identities().get(proposal.identity)
        if not proposal.refused and twin is not None:
            proposal = replace(proposal, refused=f"the same as {twin}, up to formatting and comments")
        proposal = replace(proposal, number=len(self.state.proposals) + 1, time=time.time())
        if proposal.commit:
            self.repository.set_ref(self.names.proposal_ref(proposal.number), proposal.commit)
        self._journal(record_of("proposal", proposal))
        self.files.add_proposal(proposal)
        fate = f"refused: {proposal.refused}" if proposal.refused else "waits for a slot"
        self.tell(f"propose {proposal.commit[:SHORT] or '-' * SHORT} {proposal.author}  {proposal.idea} [{fate}]")
        return proposal

    def _outside_its_axes(self, proposal: Proposal) -> str:
        """Why its recipe cannot be searched around; '' where it can. A code has the axes of the first edit to it."""
        self.commits.edited_from(proposal.commit, proposal.parent)
        recipe = self.commits.recipe(proposal.commit)
        outside = [axis.name for axis in self.commits.space(proposal.commit).axes if not axis.allows(recipe[axis.name])]
        return f"{outside[0]} is {recipe[outside[0]]!r}, outside the axis that this code has" if outside else ""

    def pause(self, paused: bool) -> None:
        """While paused no trial begins; those that run go on."""
        if paused != self.state.paused:
            self._journal({"event": "pause", "paused": paused})
            self.tell("paused: no new trial begins" if paused else "resumed")

    # --- decisions ---

    def _decide(self) -> None:
        baseline = self.state.outcomes_of(0)
        if self.state.undecided() == [0] and all(outcome.crashed for outcome in baseline):
            raise BaselineFailed(min(baseline, key=lambda outcome: outcome.seed))
        self.state.now = time.time()
        while (decision := next_decision(self.state, time.time())) is not None:
            again = decision.experiment in self.state.verdicts
            self._journal(record_of("decision", decision))
            self.commits.edited_from(decision.commit, self.state.experiments[decision.experiment].parent)
            self._write_branches()
            if again:  # its row changes
                self.files.rewrite(self.state)
            else:
                self.files.add_decision(decision)
            self._tell_decision(decision)

    def _tell_decision(self, decision: Decision) -> None:
        shown = f"bin_acc {decision.score.bin_acc:.4f} mc_acc {decision.score.mc_acc:.4f}" if decision.score else ""
        note = f" [{decision.note}]" if decision.note else ""
        rates = [f"{name[:4]} {decision.metrics[name]:.2f}" for name in SHOWN_RATES if name in decision.metrics]
        seeds = f" ({len(decision.seeds)} seeds)" if len(decision.seeds) > 1 else ""
        self.tell(
            f"{decision.status:7} {decision.commit[:SHORT]} gpu{decision.slot} {shown}{seeds} {' '.join(rates)}  "
            f"{decision.description}{note}"
        )

    # --- what is written; all of it follows from the journal ---

    def _journal(self, record: dict[str, Any]) -> None:
        record = {**record, "at": time.time()}
        self.repository.append_record(self.names.journal, record)
        self.state = apply(self.state, record)

    def _write_branches(self) -> None:
        """Points the incumbent's branch and the frontier's refs where the decisions say."""
        wanted = {self.names.frontier_ref(step): kept.commit for step, kept in enumerate(self.state.kept)}
        wanted[self.names.incumbent_ref] = self.state.incumbent_commit
        present = self.repository.refs(self.names.incumbent_ref) | self.repository.refs(self.names.refs + "/frontier")
        for ref, commit in wanted.items():
            if present.get(ref) != commit:
                self.repository.set_ref(ref, commit)

    def settle_worktrees(self) -> None:
        """At a search's end every slot's worktree and branch stand at the incumbent."""
        for slot in self.paths.slots():
            branch = self.names.slot_branch(slot.number)
            if slot.tree.exists():
                self.repository.slot_worktree(slot.tree, branch, self.state.incumbent_commit)
            elif self.repository.commit_of(f"refs/heads/{branch}") is not None:  # its worktree is on another machine
                self.repository.set_ref(f"refs/heads/{branch}", self.state.incumbent_commit)

    def lost_work(self, work: Work, slot: int, reason: str) -> Outcome:
        """The crash of a trial whose worker died, unless it left an outcome."""
        left = self._left_outcome(work, slot)
        now = time.time()
        empty = Outcome(
            work.trial_id, work.experiment.number, work.seed, slot, work.experiment.parent, None, reason, None, now, now
        )
        commit = self.repository.commit_of(self.names.trial_ref(work.trial_id))
        return left or replace(empty, commit=commit or work.experiment.parent)
