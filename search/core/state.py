"""The state of a search, rebuilt by applying the journal's records in order. No input or output."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from search.core.types import (
    Decision,
    Experiment,
    Outcome,
    Proposal,
    Purpose,
    Settings,
    Slot,
    Status,
    Turn,
    Work,
    from_json,
    to_json,
)

TrialKey = tuple[int, int]  # experiment number, seed: measured at most once


@dataclass
class State:
    """What has happened so far. outcomes and decisions are in the order in which they came."""

    settings: Settings
    experiments: dict[int, Experiment] = field(default_factory=dict)
    started: dict[TrialKey, Work] = field(default_factory=dict)
    outcomes: dict[TrialKey, Outcome] = field(default_factory=dict)
    decisions: list[Decision] = field(default_factory=list)
    crashes_in_a_row: int = 0  # of the latest trials, since the driver last began
    incumbent_crashed: bool = False  # within that row of crashes
    set_aside: set[str] = field(default_factory=set)  # trials to be run again, whatever they left
    too_small: dict[TrialKey, float] = field(
        default_factory=dict
    )  # runs -> memory_mb of a card that was not enough for it
    audit: dict[str, Any] | None = None  # what the test photos said, once they were opened
    turns: list[Turn] = field(default_factory=list)
    cut_short: set[int] = field(default_factory=set)  # turns that ended with their driver
    proposals: list[Proposal] = field(default_factory=list)
    paused: bool = False
    slots: dict[int, Slot] = field(default_factory=dict)  # all that there ever were
    present: set[int] = field(default_factory=set)  # those that the driver has now
    left_at: dict[int, float] = field(default_factory=dict)  # when those went that are not
    now: float = 0.0  # of the latest record, in seconds since the epoch; or later, where somebody looked at the clock

    @property
    def baseline_seeds(self) -> range:
        """One seed for each slot that the search was set up with, in the slots' order."""
        return range(self.settings.seed, self.settings.seed + self.settings.slots)

    @property
    def verdicts(self) -> dict[int, Decision]:
        """The latest decision on each experiment, in the order in which they were first decided."""
        return {decision.experiment: decision for decision in self.decisions}

    @property
    def frontier(self) -> list[Decision]:
        """The incumbents so far that were not replaced by their predecessors, in order of decision."""
        return [decision for decision in self.verdicts.values() if decision.status is Status.KEEP]

    @property
    def incumbent(self) -> Decision | None:
        """The last of the frontier, or None before the baseline is decided."""
        return next(reversed(self.frontier), None)

    @property
    def kept(self) -> list[Decision]:
        """Every decision that made an incumbent, in their order; also where it was replaced by its predecessor."""
        return [decision for decision in self.decisions if decision.status is Status.KEEP]

    @property
    def incumbent_commit(self) -> str:
        """The commit that new experiments start from."""
        return self.incumbent.commit if self.incumbent else self.settings.base

    def outcomes_of(self, experiment: int) -> list[Outcome]:
        return [outcome for (number, _), outcome in self.outcomes.items() if number == experiment]

    def unfinished(self) -> list[Work]:
        """Work that was begun and has no outcome: in flight, or lost with a driver that died."""
        return [work for run, work in self.started.items() if run not in self.outcomes]

    def unstarted(self) -> list[Experiment]:
        """Experiments of which no trial was begun: a driver died before it could begin the first."""
        begun = {number for number, _ in self.started}
        return [experiment for number, experiment in self.experiments.items() if number not in begun]

    def undecided(self) -> list[int]:
        """Experiments with an outcome and no decision, in order of their outcomes; the baseline waits for all seeds."""
        decided = self.verdicts
        numbers = dict.fromkeys(number for number, _ in self.outcomes if number not in decided)
        if 0 not in decided:
            return [0] if all((0, seed) in self.outcomes for seed in self.baseline_seeds) else []
        return list(numbers)

    def seeds_in_flight(self, experiment: int) -> list[int]:
        """Seeds of an experiment that were begun and have no outcome yet."""
        return [seed for number, seed in self.started if number == experiment and (number, seed) not in self.outcomes]

    def next_seed(self, experiment: int) -> int:
        """The seed of an experiment's next trial: all experiments have the same ones, in the same order."""
        begun = {seed for number, seed in self.started if number == experiment}
        return next(seed for seed in itertools.count(self.settings.seed) if seed not in begun)

    @property
    def done(self) -> int:
        """How many experiments are decided, the baseline not counted, and measurements made for want of any."""
        again = sum(self.started[run].purpose is Purpose.AGAIN for run in self.outcomes if run in self.started)
        return sum(number != 0 for number in self.verdicts) + again

    @property
    def open_turn(self) -> Turn | None:
        """The turn whose proposals have not all come yet."""
        if not self.turns or self.turns[-1].number in self.cut_short:
            return None
        turn = self.turns[-1]
        come = sum(proposal.turn == turn.number for proposal in self.proposals)
        return turn if come < turn.asked else None

    def waiting(self) -> list[Proposal]:
        """Proposals that passed and are no experiment yet."""
        begun = {experiment.proposal for experiment in self.experiments.values()}
        return [one for one in self.proposals if not one.refused and one.number not in begun]

    def experiment_of(self, proposal: int) -> Experiment | None:
        """The experiment that a proposal became."""
        return next((one for one in self.experiments.values() if one.proposal == proposal), None)

    def number_of(self, node: str, gpu: str, taken: Iterable[int] = ()) -> int:
        """The number of the slot of this GPU: its own, where it was here before, else the next that is not taken."""
        known = (slot.number for slot in self.slots.values() if (slot.node, slot.gpu) == (node, gpu))
        return next(known, max([*self.slots, *taken], default=-1) + 1)

    def memory_of(self, slot: int) -> float | None:
        """Of a slot's card, in MB; None where it is not known, as of logical slots."""
        return self.slots[slot].memory_mb if slot in self.slots else None

    def has_larger(self, memory_mb: float, slots: Iterable[int]) -> bool:
        """Whether one of these slots has a card with more memory."""
        return any((self.memory_of(slot) or 0.0) > memory_mb for slot in slots)

    def count(self, status: Status) -> int:
        return sum(decision.status is status for decision in self.verdicts.values())


def apply(state: State | None, record: dict[str, Any]) -> State:
    """The state after one more record of the journal. Raises ValueError for a record it does not know."""
    kind = record["event"]
    if state is not None:
        state.now = max(state.now, record.get("at", 0.0))
    if kind == "search":
        return State(from_json(Settings, record))
    if state is None:
        raise ValueError(f"the journal begins with {kind!r}, not with the search's settings")
    if kind == "experiment":
        experiment = from_json(Experiment, record)
        state.experiments[experiment.number] = experiment
    elif kind == "start":
        purpose = Purpose(record.get("purpose", Purpose.AGAIN if record["commit"] else Purpose.FIRST))
        work = Work(
            state.experiments[record["experiment"]], record["seed"], record["attempt"], record["commit"], purpose
        )
        state.started[(work.experiment.number, work.seed)] = work
    elif kind == "outcome":
        outcome = from_json(Outcome, record)
        _take_in(state, outcome)
    elif kind == "decision":
        state.decisions.append(from_json(Decision, record))
    elif kind == "slow":
        state.set_aside.add(record["trial"])
    elif kind == "too_small":
        state.set_aside.add(record["trial"])
        state.too_small[(record["experiment"], record["seed"])] = record["memory_mb"]
    elif kind == "audit":
        state.audit = {key: value for key, value in record.items() if key not in ("event", "at")}
    elif kind == "turn":
        state.turns.append(from_json(Turn, record))
    elif kind == "proposal":
        state.proposals.append(from_json(Proposal, record))
    elif kind == "pause":
        state.paused = record["paused"]
    elif kind == "slot":
        slot = from_json(Slot, record)
        state.slots[slot.number] = slot
        state.present.add(slot.number)
    elif kind == "slot_left":
        state.present.discard(record["number"])
        state.left_at[record["number"]] = record.get("at", 0.0)
    elif kind == "session":
        state.left_at |= dict.fromkeys(state.present, record.get("at", 0.0))
        state.present.clear()
        state.crashes_in_a_row, state.incumbent_crashed, state.paused = 0, False, False
        if state.open_turn is not None:
            state.cut_short.add(state.open_turn.number)
    else:
        raise ValueError(f"the journal has a record of an unknown kind: {kind!r}")
    return state


def _take_in(state: State, outcome: Outcome) -> None:
    run = (outcome.experiment, outcome.seed)
    if run in state.outcomes:
        return
    state.outcomes[run] = outcome
    if outcome.crashed:
        state.crashes_in_a_row += 1
        is_incumbent = state.incumbent is not None and outcome.experiment == state.incumbent.experiment
        state.incumbent_crashed = state.incumbent_crashed or is_incumbent
    else:
        state.crashes_in_a_row, state.incumbent_crashed = 0, False


def rebuild(records: Iterable[dict[str, Any]]) -> State:
    """The state after all records. Raises ValueError where there are none or they are no journal."""
    state = None
    for record in records:
        state = apply(state, record)
    if state is None:
        raise ValueError("the journal is empty")
    return state


def record_of(kind: str, item: Any) -> dict[str, Any]:
    """The journal's record of a dataclass."""
    return {"event": kind, **to_json(item)}


def start_record(work: Work) -> dict[str, Any]:
    return {
        "event": "start",
        "experiment": work.experiment.number,
        "seed": work.seed,
        "attempt": work.attempt,
        "commit": work.commit,
        "purpose": str(work.purpose),
    }
