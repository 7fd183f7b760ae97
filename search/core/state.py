"""The state of a search: what its events add up to, with an index for every question that is asked often.

An answer costs the same after a hundred experiments and after a hundred thousand. No input or output.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import singledispatchmethod
from typing import Any

from search.core import events
from search.core.health import SlotHealth, withdraw
from search.core.seeds import baseline_seeds, next_seed, purpose_of
from search.core.types import (
    Decision,
    Experiment,
    InFlight,
    Kind,
    Outcome,
    Proposal,
    Purpose,
    Settings,
    Slot,
    Status,
    TrialKey,
    Turn,
    Work,
)

PROBES_KEPT = 64  # of a slot's speed, the latest


@dataclass
class State:
    """What has happened so far. Only apply() changes it.

    ended: the outcomes, in the order in which they came. trials: an experiment's, by seed, that it is judged by; fresh:
    those of its fresh seeds, which prove and never choose. in_flight: what slots run now; the one home of that fact.
    to_rerun: begun, without an outcome, and run by nobody.
    """

    settings: Settings
    experiments: dict[int, Experiment] = field(default_factory=dict)
    outcomes: dict[TrialKey, Outcome] = field(default_factory=dict)
    ended: list[Outcome] = field(default_factory=list)
    trials: dict[int, dict[int, Outcome]] = field(default_factory=dict)
    fresh: dict[int, dict[int, Outcome]] = field(default_factory=dict)
    decisions: list[Decision] = field(default_factory=list)
    verdicts: dict[int, Decision] = field(default_factory=dict)  # the latest on each, in the order of the first ones
    frontier: list[Decision] = field(default_factory=list)  # incumbents that their predecessors did not replace
    kept: list[Decision] = field(default_factory=list)  # every decision that made an incumbent
    kept_apart: list[Decision] = field(default_factory=list)  # those whose winner had not begun from what it beat
    counts: Counter[Status] = field(default_factory=Counter)  # of the verdicts

    in_flight: dict[TrialKey, InFlight] = field(default_factory=dict)
    to_rerun: dict[TrialKey, Work] = field(default_factory=dict)
    unstarted: dict[int, Experiment] = field(default_factory=dict)  # planned, without a trial
    undecided_with_outcome: dict[int, None] = field(default_factory=dict)
    started_seeds: dict[int, set[int]] = field(default_factory=dict)
    fresh_begun: int = 0  # trials of fresh seeds
    attempts: Counter[TrialKey] = field(default_factory=Counter)
    reasons: dict[TrialKey, str] = field(default_factory=dict)  # why further seeds were run
    trained_seconds: float = 0.0  # of all trials that did not crash
    first_began: float | None = None
    last_ended: float = 0.0
    slots_used: set[int] = field(default_factory=set)
    noted: dict[int, Decision] = field(default_factory=dict)  # the verdicts with a note
    set_aside: set[str] = field(default_factory=set)  # trials to be run again, whatever they left
    too_small: dict[TrialKey, float] = field(default_factory=dict)  # -> memory_mb of a card that was not enough
    begun: int = 0  # experiments but for the baseline, and measurements for want of any
    ended_again: int = 0  # of those measurements, how many have ended
    losses: Counter[TrialKey] = field(default_factory=Counter)  # how often a trial was lost in this session
    crashes_in_a_row: int = 0  # of the latest trials, since the driver last began
    incumbent_crashed: bool = False  # within that row of crashes
    longest_baseline_evaluation: float = 0.0  # seconds

    turns: list[Turn] = field(default_factory=list)
    cut_short: set[int] = field(default_factory=set)  # turns that ended with their driver
    proposals: list[Proposal] = field(default_factory=list)
    proposals_of_turn: Counter[int] = field(default_factory=Counter)
    waiting: dict[int, Proposal] = field(default_factory=dict)  # passed, and no experiment yet
    by_origin: dict[str, Proposal] = field(default_factory=dict)
    experiments_of_proposals: dict[int, int] = field(default_factory=dict)
    rebased: set[int] = field(default_factory=set)  # experiments whose change was tried again on what they beat
    dollars: float = 0.0  # that proposals have cost

    slots: dict[int, Slot] = field(default_factory=dict)  # all that there ever were
    present: set[int] = field(default_factory=set)  # those that the driver has now
    left_at: dict[int, float] = field(default_factory=dict)  # when those went that are not
    machines: dict[int, str] = field(default_factory=dict)  # slot -> its kind, by its card or by its latest trial
    probes: dict[int, deque[float]] = field(default_factory=dict)  # slot -> its latest speeds
    health: SlotHealth = field(default_factory=SlotHealth)

    paused: bool = False
    audit: dict[str, Any] | None = None  # what the test images said, once they were opened
    now: float = 0.0  # of the latest event, in seconds since the epoch; or later, if somebody looked at the clock

    # --- answers ---

    @property
    def baseline_seeds(self) -> range:
        """By core.seeds."""
        return baseline_seeds(self.settings)

    @property
    def incumbent(self) -> Decision | None:
        """The last of the frontier, or None before the baseline is decided."""
        return self.frontier[-1] if self.frontier else None

    @property
    def incumbent_commit(self) -> str:
        """The commit that new experiments start from."""
        return self.frontier[-1].commit if self.frontier else self.settings.base

    @property
    def next_experiment(self) -> int:
        return len(self.experiments)

    def outcomes_of(self, experiment: int) -> list[Outcome]:
        return list(self.trials.get(experiment, {}).values())

    def undecided(self) -> list[int]:
        """Experiments with an outcome and no decision, in order of their outcomes; the baseline waits for all seeds."""
        if 0 not in self.verdicts:
            of_baseline = self.trials.get(0, {})
            return [0] if all(seed in of_baseline for seed in self.baseline_seeds) else []
        return list(self.undecided_with_outcome)

    def seeds_in_flight(self, experiment: int) -> list[int]:
        """Seeds of an experiment that it is judged by, that were begun and have no outcome yet."""
        ended, base = self.trials.get(experiment, {}), self.settings.seed
        begun = self.started_seeds.get(experiment, ())
        return [seed for seed in begun if seed not in ended and purpose_of(seed, base) is None]

    def next_seed(self, experiment: int, purpose: Purpose = Purpose.CONFIRM) -> int:
        """The seed of an experiment's next trial, by core.seeds."""
        return next_seed(self.started_seeds.get(experiment, ()), self.settings.seed, purpose)

    @property
    def done(self) -> int:
        """How many experiments are decided, the baseline not counted, and measurements made for want of any."""
        return len(self.verdicts) - (0 in self.verdicts) + self.ended_again

    @property
    def open_turn(self) -> Turn | None:
        """The turn whose proposals have not all come yet."""
        if not self.turns or self.turns[-1].number in self.cut_short:
            return None
        turn = self.turns[-1]
        return turn if self.proposals_of_turn[turn.number] < turn.asked else None

    def experiment_of(self, proposal: int) -> Experiment | None:
        """The experiment that a proposal became."""
        number = self.experiments_of_proposals.get(proposal)
        return None if number is None else self.experiments[number]

    def number_of(self, node: str, gpu: str, taken: Iterable[int] = ()) -> int:
        """The number of the slot of this GPU: its own, if it was here before, else the next that is not taken."""
        known = (slot.number for slot in self.slots.values() if (slot.node, slot.gpu) == (node, gpu))
        return next(known, max([*self.slots, *taken], default=-1) + 1)

    def memory_of(self, slot: int) -> float | None:
        """Of a slot's card, in MB; None if it is not known, as of logical slots."""
        return self.slots[slot].memory_mb if slot in self.slots else None

    def has_larger(self, memory_mb: float, slots: Iterable[int]) -> bool:
        """Whether one of these slots has a card with more memory."""
        return any((self.memory_of(slot) or 0.0) > memory_mb for slot in slots)

    # --- events, one handler each ---

    def apply(self, event: events.Event) -> None:
        """Takes in one event."""
        self.now = max(self.now, event.at)
        self._on(event)

    @singledispatchmethod
    def _on(self, event: events.Event) -> None:  # SearchBegun has none: a journal has one beginning
        raise TypeError(f"no handler for {type(event).__name__}")

    @_on.register
    def _(self, event: events.SessionBegun) -> None:
        self.left_at |= dict.fromkeys(self.present, event.at)
        self.present.clear()
        self.to_rerun |= {key: running.work for key, running in self.in_flight.items()}
        self.in_flight.clear()
        self.losses.clear()
        self.crashes_in_a_row, self.incumbent_crashed, self.paused = 0, False, False
        self.health = SlotHealth()  # whoever goes on may have mended what was at fault
        if self.open_turn is not None:
            self.cut_short.add(self.open_turn.number)

    @_on.register
    def _(self, event: events.ExperimentPlanned) -> None:
        experiment = event.experiment
        self.experiments[experiment.number] = experiment
        self.unstarted[experiment.number] = experiment
        self.begun += experiment.kind is not Kind.BASELINE
        if experiment.proposal is not None:
            self.experiments_of_proposals[experiment.proposal] = experiment.number
            self.waiting.pop(experiment.proposal, None)
        if experiment.origin is not None:
            self.rebased.add(experiment.origin)

    @_on.register
    def _(self, event: events.TrialStarted) -> None:
        work = event.work(self.experiments[event.experiment])
        if work.key not in self.attempts:
            self.begun += event.purpose is Purpose.AGAIN
            self.fresh_begun += event.purpose in (Purpose.PROOF, Purpose.VERIFY)
        self.attempts[work.key] = event.attempt
        self.reasons |= {work.key: event.why} if event.why else {}
        self.unstarted.pop(event.experiment, None)
        self.to_rerun.pop(work.key, None)
        self.started_seeds.setdefault(event.experiment, set()).add(event.seed)
        self.in_flight[work.key] = InFlight(work, event.slot, event.at)

    @_on.register
    def _(self, event: events.TrialEnded) -> None:
        outcome = event.outcome
        if outcome.key in self.outcomes:
            return
        self.health.take(outcome, self._end(outcome))
        self.outcomes[outcome.key] = outcome
        self.ended.append(outcome)
        is_fresh = purpose_of(outcome.seed, self.settings.seed) is not None
        (self.fresh if is_fresh else self.trials).setdefault(outcome.experiment, {})[outcome.seed] = outcome
        if outcome.experiment not in self.verdicts and not is_fresh:
            self.undecided_with_outcome.setdefault(outcome.experiment)
        self._count_time(outcome)
        if outcome.machine:
            self.machines[outcome.slot] = outcome.machine
        if outcome.speed.get("probe"):
            self.probes.setdefault(outcome.slot, deque(maxlen=PROBES_KEPT)).append(float(outcome.speed["probe"]))
        if outcome.experiment == 0 and outcome.score is not None:
            seconds = float(outcome.speed.get("evaluation_seconds") or 0.0)
            self.longest_baseline_evaluation = max(self.longest_baseline_evaluation, seconds)
        if outcome.crashed:
            self.crashes_in_a_row += 1
            self.incumbent_crashed |= self.incumbent is not None and outcome.experiment == self.incumbent.experiment
        else:
            self.crashes_in_a_row, self.incumbent_crashed = 0, False

    def _end(self, outcome: Outcome) -> Work | None:
        running = self.in_flight.pop(outcome.key, None)
        work = running.work if running else self.to_rerun.pop(outcome.key, None)
        if work is not None:
            self.ended_again += work.purpose is Purpose.AGAIN
        return work

    def _count_time(self, outcome: Outcome) -> None:
        self.trained_seconds += outcome.speed.get("training_seconds") or 0.0
        self.first_began = min(self.first_began or outcome.began, outcome.began)
        self.last_ended = max(self.last_ended, outcome.ended)
        self.slots_used.add(outcome.slot)

    def run_again(self, key: TrialKey) -> None:
        """Of a trial in flight that says nothing."""
        running = self.in_flight.pop(key, None)
        if running is not None:
            self.to_rerun[key] = running.work

    @_on.register
    def _(self, event: events.TrialLost) -> None:
        key = (event.experiment, event.seed)
        self.losses[key] += 1
        self.run_again(key)

    @_on.register
    def _(self, event: events.SlowTrial) -> None:
        self.set_aside.add(event.trial)
        self.run_again((event.experiment, event.seed))

    @_on.register
    def _(self, event: events.CardTooSmall) -> None:
        self.set_aside.add(event.trial)
        self.too_small[(event.experiment, event.seed)] = event.memory_mb
        self.run_again((event.experiment, event.seed))

    @_on.register
    def _(self, event: events.CrashRechecked) -> None:
        self.health.rechecked[(event.experiment, event.seed)] = event.slot
        withdraw(self, event.trial)

    @_on.register
    def _(self, event: events.SlotPutAside) -> None:
        for trial in event.trials:
            withdraw(self, trial)
        self.health.put_aside(event.number, event.at, event.reason)

    @_on.register
    def _(self, event: events.Decided) -> None:
        decision, number = event.decision, event.decision.experiment
        before = self.verdicts.get(number)
        if before is not None:
            self.counts[before.status] -= 1
            self.frontier = [one for one in self.frontier if one.experiment != number]
        self.decisions.append(decision)
        self.verdicts[number] = decision
        self.counts[decision.status] += 1
        self.noted.pop(number, None)
        if decision.note:
            self.noted[number] = decision
        self.undecided_with_outcome.pop(number, None)
        if decision.status is Status.KEEP:
            self.kept.append(decision)
            if number and self.experiments[number].parent != decision.incumbent:
                self.kept_apart.append(decision)
            self.frontier.append(decision)

    @_on.register
    def _(self, event: events.AuditRecorded) -> None:
        self.audit = event.found

    @_on.register
    def _(self, event: events.TurnBegun) -> None:
        self.turns.append(event.turn)

    @_on.register
    def _(self, event: events.ProposalRecorded) -> None:
        proposal = event.proposal
        self.proposals.append(proposal)
        self.dollars += proposal.cost.dollars or 0.0
        if proposal.turn is not None:
            self.proposals_of_turn[proposal.turn] += 1
        if proposal.origin:
            self.by_origin.setdefault(proposal.origin, proposal)
        if not proposal.refused:
            self.waiting[proposal.number] = proposal

    @_on.register
    def _(self, event: events.PauseSet) -> None:
        self.paused = event.paused

    @_on.register
    def _(self, event: events.SlotJoined) -> None:
        self.slots[event.slot.number] = event.slot
        self.present.add(event.slot.number)
        if event.slot.model and event.slot.number not in self.slots_used:  # else its latest trial has said it
            self.machines[event.slot.number] = event.slot.model

    @_on.register
    def _(self, event: events.SlotLeft) -> None:
        self.present.discard(event.number)
        self.left_at[event.number] = event.at
