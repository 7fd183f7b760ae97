"""The search's one writer: hands out work, records outcomes, decides, moves branches, writes everything in runs/."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import IO, Any

from search.core.events import (
    AuditRecorded,
    CrashRechecked,
    Event,
    PauseSet,
    ProposalRecorded,
    SearchBegun,
    SessionBegun,
    SlotJoined,
    SlotLeft,
    SlotPutAside,
    TrialLost,
    TurnBegun,
)
from search.core.paths import Names, SearchPaths
from search.core.sources import Sources
from search.core.state import State
from search.core.types import AT_FAULT, Outcome, Proposal, SearchError, Settings, Slot, Turn, UsageError, Work
from search.decide.decision import baseline_has_failed, weights_wanted
from search.decide.loop import SearchLoop
from search.decide.plan import Limit, Pause
from search.decide.points.sampler import frozen_trial, holds
from search.decide.reruns import rerun_of
from search.decide.speed import note_on_speed
from search.driver.branches import Branches
from search.driver.messages import decision_line, machine_is_broken, proposal_line, slot_line
from search.records import journal
from search.records.ledgers import Ledgers
from search.records.optuna_mirror import OptunaMirror
from search.report.snapshot import view_of
from search.system.files import DiskRoom, write_json
from search.system.git import Repository
from search.trial.run import read_outcome
from search.trial.sealed import folder_of, keep_weights

LOCK_SECONDS = 2.0  # whoever looks whether a search runs has its lock for a moment


class BaselineFailed(SearchError):
    """The baseline crashed: there is nothing to search around. The message ends with its traceback."""

    def __init__(self, outcome: Outcome) -> None:
        advice = "mend it, commit it, and begin another search with --tag"
        super().__init__(f"the baseline failed: {outcome.reason}; {advice}\n{outcome.traceback}".rstrip())


class Coordinator:
    """A search in progress. Only one lives per tag: it holds the lock of runs/<tag> until close().

    announce: gets one line for each thing that a person should see. view: the state at a glance, for other threads; it
    is replaced and never changed. tip: the journal's latest commit. records: how many it has.
    """

    def __init__(self, repository: Repository, tag: str, announce: Callable[[str], None] = print) -> None:
        self.repository, self.names, self.announce = repository, Names(tag), announce
        self.paths = SearchPaths.of(repository.root, tag)
        self.ledgers = Ledgers(self.paths)
        self.branches = Branches(repository, self.names, announce)
        self.expected: set[int] = set()  # slots that are coming up
        self.limit = Limit()
        self.rerun_slow = False  # run a trial again, once, whose slot was slow
        self.room = DiskRoom(repository.root)
        self.stopping = False  # nothing new is begun
        self.mirror: OptunaMirror | None = None
        self.tip, self.records = "", 0
        self._lock = self._take_lock()
        self.void = frozenset(repository.refs(self.names.requests))  # they were asked of another driver

    def _take_lock(self) -> IO[str]:
        self.paths.root.mkdir(parents=True, exist_ok=True)
        stream = self.paths.lock.open("a+")
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return stream
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    stream.close()
                    raise SearchError(
                        f"search {self.names.tag} is running already: python -m search.status {self.names.tag}"
                    ) from error
                time.sleep(0.05)

    def close(self) -> None:
        """Gives the lock back."""
        if self.mirror is not None:
            self.mirror.close()
        self._lock.close()

    # --- beginning and going on ---

    def begin(self, settings: Settings) -> None:
        """Starts a fresh search. Raises UsageError if another driver was first to begin one of this name."""
        if self.repository.commit_of(self.names.journal) is not None:
            raise UsageError(f"--tag {self.names.tag}: a search of this name exists; --resume {self.names.tag} goes on")
        journal.append(self.repository, self.names, SearchBegun(settings, time.time()))
        self.restore()

    def resume(self) -> None:
        """Rebuilds a search from its journal in git, and takes in the outcomes of trials that ended unrecorded.

        Raises UsageError if there is no such search.
        """
        if self.repository.commit_of(self.names.journal) is None:
            raise journal.no_such_search(self.repository, self.names.tag, "--resume ")
        self.repository.remove_abandoned_locks(*self.names.lock_files)
        self.restore()
        self._append(SessionBegun())
        for work in list(self.state.to_rerun.values()):
            self.collect(work)
        self._decide()
        self.refresh_view()

    def restore(self, mirrored: bool = True) -> None:
        """Rebuilds the state from the journal, and all that follows; mirrored: for Optuna's dashboard too."""
        events = journal.read(self.repository, self.names)
        self.state: State = journal.rebuild(events)
        self.records = len(events)
        self.tip = self.repository.commit_of(self.names.journal) or ""
        self.settings = self.state.settings
        edited = self.settings.task.edited_path
        self.sources = Sources(self.settings, lambda commit: self.repository.file_at(commit, edited))
        record = lambda event: self._append(event)  # noqa: E731, PLW0108  looked up at every call
        self.loop = SearchLoop(self.state, self.sources, record)
        self.branches.restore(self.state)
        self.ledgers.write_all(self.state)
        self._keep_weights()
        self.mirror = OptunaMirror(self.paths.study, self.announce) if mirrored else None
        for outcome in self.state.ended:
            self._mirror(outcome)
        self.refresh_view()

    def refresh_view(self) -> None:
        """Makes the view that other threads see."""
        self.view: dict[str, Any] = {
            **view_of(self.state),
            "progress": round(self.limit.progress(self.state), 4),
            "coming": self.loop.coming(),
            "waits_for_room": self.room.is_short,
            "tip": self.tip,
            "records": self.records,
        }

    def write_view(self) -> None:
        """Leaves the view for search.status, which then need not read the whole journal."""
        self.paths.root.mkdir(parents=True, exist_ok=True)  # it may have been cleaned away
        write_json(self.paths.view, {"time": time.time(), "view": self.view}, synced=False)

    # --- slots ---

    def enrol(
        self, number: int, node: str, gpu: str, host: str = "", model: str = "", memory_mb: float | None = None
    ) -> Slot:
        """A GPU has come. number: by State.number_of."""
        slot = Slot(number, node, host or node, gpu, model, memory_mb)
        if slot.number not in self.state.present or self.state.slots.get(slot.number) != slot:
            self._append(SlotJoined(slot))
        return slot

    def leave(self, number: int, reason: str) -> None:
        """A slot has gone."""
        if number in self.state.present:
            self._append(SlotLeft(number, reason))
            self.reconsider()

    def reconsider(self) -> None:
        """Decides what time alone has made decidable, as when the last slot of a kind has been gone for long."""
        if self.state.decisions:
            self._decide()

    # --- work and outcomes ---

    def next_work(self, slot: int) -> Work | Pause:
        """The next trial for a free slot, journalled before it is handed out.

        Raises SearchError if nothing runs on this machine any more, not even the incumbent.
        """
        if self.stopping:
            return Pause.WAIT if self.state.in_flight else Pause.FINISHED
        if not self.room.is_enough(self.announce):
            return Pause.WAIT
        self.loop.limit = self.limit
        self.state.now = time.time()
        work = self.loop.hand_out(slot, self.state.present | self.expected | {slot})
        if work is Pause.BROKEN:
            raise machine_is_broken(self.state, self.paths.root)
        return work

    def collect(self, work: Work, slot: int | None = None) -> bool:
        """Records the outcome that a trial has left in its slot's folder, in any if the slot is not known; False if
        there is none."""
        places = self.paths.slots() if slot is None else [self.paths.slot(slot)]
        found = (read_outcome(place.trial(work.trial_id)) for place in places)
        outcome = next((one for one in found if one is not None), None)
        if outcome is not None and outcome.trial not in self.state.set_aside:
            self.record(outcome)
        return outcome is not None

    def record_crash(self, work: Work, slot: int, reason: str) -> None:
        """Records the crash of a trial whose worker died, unless it left an outcome."""
        if self.collect(work, slot):
            return
        now = time.time()
        commit = self.repository.commit_of(self.names.trial_ref(work.trial_id)) or work.experiment.parent
        number, seed = work.key
        self.record(Outcome(work.trial_id, number, seed, slot, commit, None, reason, None, now, now))

    def lose(self, work: Work, slot: int, reason: str) -> None:
        """A trial whose node has gone says nothing about its experiment: it is run again, by the next free slot."""
        if self.collect(work, slot) or work.key in self.state.outcomes:
            return
        self._append(TrialLost(work.trial_id, *work.key, reason))
        self.paths.slot(slot).trial(work.trial_id).running.unlink(missing_ok=True)
        self.announce(f"lost    {work.trial_id} on gpu{slot}: {reason}; it is run again")

    def record(self, outcome: Outcome) -> None:
        """Takes in one trial's outcome, once, and decides what can be decided.

        Raises BaselineFailed if all that the baseline ran crashed, on two slots if there are two.
        """
        state, key = self.state, outcome.key
        if key in state.outcomes:
            return
        rerun = rerun_of(state, outcome, self.rerun_slow)
        if rerun is not None:
            event, line = rerun
            self.announce(line)
            self._append(event)
            return
        if outcome.reason.startswith(AT_FAULT):
            self._put_aside(outcome)
            return
        note = note_on_speed(outcome, state.probes.get(outcome.slot, ()))
        outcome = replace(outcome, speed=outcome.speed | ({"slow": note} if note else {}))
        of_slots = self.loop.take(outcome)
        self.ledgers.add_outcome(state, outcome)
        self._mirror(outcome)
        self._say_of_slots(of_slots)
        if baseline_has_failed(state, state.present | self.expected):
            raise BaselineFailed(outcome)
        self._decide()
        if outcome.crashed and outcome.experiment not in {d.experiment for d in state.decisions[-1:]}:
            self.announce(f"crash   {outcome.trial} on gpu{outcome.slot}: {outcome.reason}")  # no row says it

    def _put_aside(self, outcome: Outcome) -> None:
        """Its slot cannot run trials; this one runs again elsewhere."""
        event = SlotPutAside(outcome.slot, outcome.reason.removeprefix(AT_FAULT), [outcome.trial])
        self._append(event)
        self._say_of_slots([event])

    def _say_of_slots(self, found: Sequence[CrashRechecked | SlotPutAside]) -> None:
        for event in found:
            self.announce(slot_line(event))
        if found:
            self.ledgers.write_all(self.state, replaced=True)

    def _mirror(self, outcome: Outcome) -> None:
        if self.mirror is None:
            return
        experiment = self.state.experiments[outcome.experiment]
        commit = experiment.commit or experiment.parent
        space, point = self.sources.space(commit), self.sources.point(experiment)
        if holds(space, point):
            of_trial = outcome.experiment, outcome.seed, point, outcome.score, outcome.stopped is not None
            self.mirror.add(partial(frozen_trial, self.settings.task, space, self.sources.code(commit), *of_trial))

    def record_audit(self, found: dict[str, Any]) -> None:
        """Records that the test images are spent, and what they said."""
        self._append(AuditRecorded(found))
        self.ledgers.write_audit(found)

    # --- proposals ---

    def begin_turn(self, agent: str, asked: int) -> Turn:
        """Asks the agent; journalled, so that a round has one turn."""
        state = self.state
        turn = Turn(len(state.turns) + 1, agent, asked, state.done, state.incumbent_commit, time.time())
        self._append(TurnBegun(turn))
        return turn

    def take(self, proposal: Proposal) -> Proposal:
        """Takes in what became of a proposal, once; numbered, and refused if another came first with the same."""
        if proposal.origin and proposal.origin in self.state.by_origin:
            return self.state.by_origin[proposal.origin]
        if proposal.commit and not proposal.refused:
            proposal = replace(proposal, refused=self._outside_its_axes(proposal))
        twin = self.sources.tried(self.state).get(proposal.identity)
        if not proposal.refused and twin is not None:
            proposal = replace(proposal, refused=f"the same as {twin}, up to formatting and comments")
        proposal = replace(proposal, number=len(self.state.proposals) + 1, time=time.time())
        if proposal.commit:
            self.repository.set_ref(self.names.proposal_ref(proposal.number), proposal.commit)
        self._append(ProposalRecorded(proposal))
        self.ledgers.add_proposal(proposal)
        self.announce(proposal_line(proposal))
        return proposal

    def _outside_its_axes(self, proposal: Proposal) -> str:
        """Why its recipe cannot be searched around; '' if it can. A code has the axes of the first edit to it."""
        self.sources.edited_from(proposal.commit, proposal.parent)
        recipe = self.sources.recipe(proposal.commit)
        outside = [axis.name for axis in self.sources.space(proposal.commit).axes if not axis.allows(recipe[axis.name])]
        return f"{outside[0]} is {recipe[outside[0]]!r}, outside the axis that this code has" if outside else ""

    def pause(self, paused: bool) -> None:
        """While paused no trial begins; those that run go on."""
        if paused != self.state.paused:
            self._append(PauseSet(paused))
            self.announce("paused: no new trial begins" if paused else "resumed")

    # --- decisions ---

    def _decide(self) -> None:
        baseline = self.state.outcomes_of(0)
        if self.state.undecided() == [0] and all(outcome.crashed for outcome in baseline):
            raise BaselineFailed(min(baseline, key=lambda outcome: outcome.seed))
        self.state.now = time.time()
        for decision in self.loop.decide(time.time):
            self.branches.follow(self.state)
            self.ledgers.add_decision(self.state, decision)
            self.announce(decision_line(decision, self.settings.task))
            self._keep_weights()

    def _keep_weights(self) -> None:
        keep_weights(folder_of(self.settings), weights_wanted(self.state))

    def _append(self, event: Event) -> None:
        event = replace(event, at=time.time())
        self.tip = journal.append(self.repository, self.names, event)
        self.records += 1
        self.state.apply(event)

    def settle_worktrees(self) -> None:
        """At a search's end every slot's worktree and branch stand at the incumbent."""
        self.branches.settle(self.state, self.paths)
