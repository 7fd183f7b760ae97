"""Beside the search: asks the agent after each round, checks what is handed in, and passes on what other commands ask.

Nothing here is waited for. Threads think and check; `poll`, in the driver's own thread, alone calls the coordinator.
"""

from __future__ import annotations

import json
import queue
import shlex
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any

from search.agent.agents import Agent, AgentPlan
from search.agent.brief import facts_of, hints_of, written
from search.agent.builtin.choose import Tried
from search.agent.inbox import proposal_from
from search.agent.likeness import TriedEdit
from search.agent.smoke import Places, SmokeSetup
from search.agent.turn import NEVER_BEGAN, NOTHING_LEFT, Assignment, ProposalContext, ask, choose_and_check
from search.agent.validate import EditBase
from search.core.task import Task
from search.core.types import GitError, Proposal, SearchError, Status, Turn
from search.decide.plan import turn_is_due, unmerged
from search.driver.coordinator import Coordinator
from search.records.requests import Operation, handed_in, pending
from search.report.frontier import noise_of
from search.report.proposals import fate_of
from search.system.files import end_of
from search.system.git import Repository
from search.system.process import end_guards
from search.trial.training import command_of

LOOK_SECONDS = 1.0  # between two looks at what others ask
MOST_AT_ONCE = 4  # edits handed in that are checked at a time
LARGEST_NOTES = 20_000  # bytes
MOST_COMPARED = 24  # lost edits that a new one is compared with, the latest


class JobKind(Enum):
    TURN = auto()  # the agent thinks
    REQUEST = auto()  # an edit that a command handed in
    INBOX = auto()  # a commit of the inbox branch
    MERGE = auto()  # a kept edit, on what it beat


@dataclass(frozen=True)
class Job:
    """What a thread works on. about: the name of the turn's folder, the request's ref, or the commit."""

    kind: JobKind
    about: str


class ProposalManager:
    """plan: None: no agent is asked. on_stop: called once when somebody asks the search to stop at once."""

    def __init__(
        self, coordinator: Coordinator, plan: AgentPlan | None, places: Places, on_stop: Callable[[], None]
    ) -> None:
        self.coordinator, self.plan, self.places, self.on_stop = coordinator, plan, places, on_stop
        self.repository, self.names = coordinator.repository, coordinator.names
        self._results: queue.Queue[tuple[Job, Proposal, bool]] = queue.Queue()  # the last: it was cut short
        self._jobs: dict[Job, threading.Thread] = {}
        self._guards: set[int] = set()
        self._ended = threading.Event()
        self._looked = 0.0
        self._told: set[str] = set()
        folder = coordinator.paths.agent
        own = Repository(self.repository.root)
        smoke = SmokeSetup(own, folder / "smoke", places)
        self.context = ProposalContext(own, smoke, folder, self._guards.add, self._ended.is_set)

    # --- in the driver's thread ---

    def poll(self) -> None:
        """Takes in what is ready and begins what is due. Raises what the coordinator raises."""
        self._take_results()
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        self._quietly(self._heed_requests)
        if self.coordinator.state.incumbent is not None and not self.coordinator.stopping:
            self._quietly(self._begin_handed_in)
        state = self.coordinator.state
        if state.incumbent is None or self.coordinator.stopping:
            return
        if self.plan and turn_is_due(state, self.plan.per_round, self.coordinator.limit) and self._can_be_asked():
            self._begin_turn(self.plan)

    def close(self) -> None:
        """Ends whatever thinks or is checked; what had come by then is taken in."""
        self._ended.set()
        end_guards(lambda: list(self._guards))
        for thread in self._jobs.values():
            thread.join(timeout=20)
        self._take_results()

    def _take_results(self) -> None:
        while True:
            try:
                job, proposal, is_cut_short = self._results.get_nowait()
            except queue.Empty:
                return
            self._jobs.pop(job, None)
            if is_cut_short and proposal.refused:
                if not proposal.cost.dollars:
                    continue  # it is asked for again
                cut = f"cut short with the search: {proposal.refused}"
                proposal = replace(proposal, turn=None, refused=cut)  # what it cost is not lost
            self.coordinator.take(proposal)
            if job.kind is JobKind.REQUEST:
                self._quietly(lambda: self.repository.delete_ref(job.about))  # noqa: B023  called at once

    def _heed_requests(self) -> None:
        known = self.coordinator.state.by_origin
        for request in pending(self.repository, self.names):
            if request.operation is Operation.PROPOSE:
                if request.commit in known:  # a driver died before it could delete the ref
                    self.repository.delete_ref(request.ref)
                elif self._has_room(job := Job(JobKind.REQUEST, request.ref)):
                    self._start(job, proposal_from, request.commit, "inbox", "", self._edit_base(), self.context)
                continue
            is_void = request.ref in self.coordinator.void
            if not is_void:
                if request.operation is Operation.PAUSE:
                    self.coordinator.pause(True)
                elif request.operation is Operation.RESUME:
                    self.coordinator.pause(False)
                else:
                    self.coordinator.stopping = True
            self.repository.delete_ref(request.ref)
            if request.operation is Operation.STOP_NOW and not is_void:
                self.on_stop()

    def _begin_handed_in(self) -> None:
        known = self.coordinator.state.by_origin
        for commit in handed_in(self.repository, self.names, self.coordinator.settings.base):
            if commit not in known and self._has_room(job := Job(JobKind.INBOX, commit)):
                self._start(job, proposal_from, commit, "inbox", "", self._edit_base(), self.context)
        for decision in unmerged(self.coordinator.state, self.coordinator.sources):
            if self._has_room(job := Job(JobKind.MERGE, decision.commit)):
                idea = f"{decision.description} (as kept before, on top of what it beat)"
                beaten = self._edit_base(decision.incumbent)
                self._start(job, proposal_from, decision.commit, "merge", idea, beaten, self.context)

    def _has_room(self, job: Job) -> bool:
        checks = [one for one in self._jobs if one.kind is not JobKind.TURN]
        is_free = job not in self._jobs and len(checks) < MOST_AT_ONCE
        return is_free and self.coordinator.state.incumbent is not None

    def _can_be_asked(self) -> bool:
        assert self.plan is not None
        if self.plan.agent is None:  # it is asked again once the incumbent is another
            left = (self.coordinator.state.incumbent_commit, NOTHING_LEFT)
            return all((one.parent, one.refused) != left for one in self.coordinator.state.proposals)
        if self.plan.dollars is None:
            return True
        proposals = self.coordinator.state.proposals
        if any(is_untold(one) for one in proposals if one.author == self.plan.name):
            return self._refuse(f"the agent {self.plan.name} did not report what it cost: its budget cannot be kept")
        spent = self.coordinator.state.dollars
        if spent >= self.plan.dollars:
            return self._refuse(f"the agent's budget is spent: {spent:.2f} of {self.plan.dollars:.2f} dollars")
        return True

    def _quietly(self, work: Callable[[], None]) -> None:
        """What others want must not end the search; it is looked for again."""
        try:
            work()
        except (GitError, OSError) as error:
            self._tell_once(f"what is handed in could not be seen to: {error}")

    def _refuse(self, line: str) -> bool:
        self._tell_once(f"{line}; it is not asked again")
        return False

    def _tell_once(self, line: str) -> None:
        if line not in self._told:
            self._told.add(line)
            self.coordinator.announce(line)

    def _edit_base(self, commit: str = "") -> EditBase:
        """What edits are made from: a commit, the incumbent if none is named."""
        sources, state = self.coordinator.sources, self.coordinator.state
        base = commit or state.incumbent_commit
        identities = dict(sources.tried(state))
        return EditBase(base, sources.source_at(base), sources.space(base), identities)

    def _lost(self) -> list[TriedEdit]:
        """The latest edits that were tried and not kept: an agent's must not resemble one."""
        state, sources, found = self.coordinator.state, self.coordinator.sources, []
        for proposal in reversed(state.proposals):
            experiment = state.experiment_of(proposal.number)
            decision = state.verdicts.get(experiment.number) if experiment else None
            if decision is None or decision.status is Status.KEEP or not proposal.commit:
                continue
            name, fate = f"proposal {proposal.number} ({proposal.idea})", fate_of(proposal, decision).line
            before, after = (sources.source_at(one) for one in (proposal.parent, proposal.commit))
            found.append(TriedEdit(name, fate, before, after))
            if len(found) == MOST_COMPARED:
                break
        return found

    def _begin_turn(self, plan: AgentPlan) -> None:
        turn = self.coordinator.begin_turn(plan.name, plan.proposals)
        edit_base = replace(self._edit_base(), lost=self._lost())
        if plan.agent is None:
            tried = self._tried()
            for place in range(plan.proposals):
                task = self._assignment(turn, place, edit_base, plan)
                seed = f"{self.coordinator.settings.seed} {turn.number} {place}"
                self._start(Job(JobKind.TURN, task.name), choose_and_check, task, self.context, tried, seed)
            return
        brief = self._brief(edit_base)
        for place in range(plan.proposals):
            task = self._assignment(turn, place, edit_base, plan)
            self._start(Job(JobKind.TURN, task.name), self._ask, plan.agent, task, brief)

    def _tried(self) -> list[Tried]:
        verdicts = self.coordinator.state.verdicts
        found = []
        for proposal in self.coordinator.state.proposals:
            experiment = self.coordinator.state.experiment_of(proposal.number)
            decision = verdicts.get(experiment.number) if experiment else None
            if proposal.edit and (decision is not None or proposal.refused):
                found.append(Tried(proposal.edit, decision is not None and decision.status is Status.KEEP))
        return found

    def _assignment(self, turn: Turn, place: int, edit_base: EditBase, plan: AgentPlan) -> Assignment:
        left = None
        if plan.dollars is not None:
            left = (plan.dollars - self.coordinator.state.dollars) / plan.proposals
        name = f"turn{turn.number:04d}-{place}"
        kept = (self.repository.root,)
        summary, secret = self._summary(), self.places.secret
        return Assignment(name, turn.number, edit_base, "", summary, plan.seconds, left, kept, secret)

    def _summary(self) -> str:
        """analysis_summary.json, which another thread moves into place whole; '{}' if there is none."""
        try:
            return self.coordinator.paths.summary.read_text(errors="replace")
        except OSError:
            return "{}"

    def _summary_values(self) -> dict[str, Any]:
        try:
            return dict(json.loads(self._summary()))
        except (ValueError, TypeError):  # somebody edited it
            return {}

    def _brief(self, edit_base: EditBase) -> Callable[[], str]:
        """Writes the brief, in the thread that needs it, of what is known now."""
        state, paths = self.coordinator.state, self.coordinator.paths
        scores = [outcome.score.primary for outcome in state.outcomes_of(0) if outcome.score]
        axes = [axis.name for axis in edit_base.space.axes]
        facts = facts_of(state, noise_of(scores), axes, hints_of(self._summary_values()))
        notes = end_of(paths.notes, LARGEST_NOTES)
        task = self.places.task
        named = {
            "check": check_command(task, self.context.smoke),
            "The rules in full": task.path(task.program),
            "Everything that is known so far": "analysis_summary.json",
        }

        def write() -> str:
            def difference(old: str, new: str) -> str:
                return self.context.repository.difference(old, new, task.edited_path)

            return written(facts, rules_of(self.context.repository, edit_base.commit, task), notes, difference, named)

        return write

    # --- in threads ---

    def _ask(self, agent: Agent, task: Assignment, brief: Callable[[], str]) -> Proposal:
        self.context.smoke.data()  # the brief names it
        return ask(agent, replace(task, brief=brief()), self.context)

    def _start(self, job: Job, work: Callable[..., Proposal], *given: object) -> None:
        def run() -> None:
            try:
                made = work(*given)
            except Exception as error:  # whatever goes wrong with an edit ends as a line, not as the search
                made = _failed(error, given)
            self._results.put((job, made, self._ended.is_set()))

        self._jobs[job] = threading.Thread(target=run, daemon=True, name=job.about)
        self._jobs[job].start()


def is_untold(proposal: Proposal) -> bool:
    """Whether it may have cost something that nobody knows: it answered, or was ended before it could report it."""
    return proposal.cost.dollars is None and not proposal.refused.startswith(NEVER_BEGAN)


def _failed(error: Exception, given: Sequence[object]) -> Proposal:
    words = str(error) if isinstance(error, (SearchError, OSError)) else f"{type(error).__name__}: {error}"
    task = next((one for one in given if isinstance(one, Assignment)), None)
    agent = next((one.name for one in given if isinstance(one, Agent)), "builtin" if task else "inbox")
    origin = "" if task else str(given[0])
    parent = task.edit_base.commit if task else next(one.commit for one in given if isinstance(one, EditBase))
    reason = f"it could not be asked or checked: {words}"
    return Proposal(0, agent, "", parent, refused=reason, turn=task.turn if task else None, origin=origin)


def check_command(task: Task, smoke: SmokeSetup) -> str:
    """How an agent tries its edit for a few seconds; '' if the task has no way to."""
    if task.smoke_seconds is None:
        return ""
    words, variables = command_of(task, smoke.view, [(task.seconds, task.smoke_seconds)])
    before = "".join(f"{name}={value} " for name, value in variables.items())
    within = f"cd {task.folder} && " if task.folder else ""
    return within + before + shlex.join(words)


def rules_of(repository: Repository, commit: str, task: Task) -> str:
    """The section Rules of the task's program, or all of it if it has none; '' if there is no program."""
    try:
        text = repository.file_at(commit, task.path(task.program))
    except GitError:
        return ""
    _, _, rest = text.partition("\n## Rules\n")
    return rest.partition("\n## ")[0].strip() or text.strip()
