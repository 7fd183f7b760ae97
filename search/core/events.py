"""What happens to a search, one frozen dataclass for each kind of event. The journal is a list of them.

at: when it was recorded, in seconds since the epoch. event: its name in the journal.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from search.core.codec import adapter_of, checked
from search.core.types import Decision, Experiment, Outcome, Proposal, Purpose, Settings, Slot, Turn, Work


@dataclass(frozen=True)
class SearchBegun:
    settings: Settings
    at: float = 0.0
    event: Literal["search"] = "search"


@dataclass(frozen=True)
class SessionBegun:
    """A driver goes on with the search: what another one had in flight is lost."""

    at: float = 0.0
    event: Literal["session"] = "session"


@dataclass(frozen=True)
class ExperimentPlanned:
    experiment: Experiment
    at: float = 0.0
    event: Literal["experiment"] = "experiment"


@dataclass(frozen=True)
class TrialStarted:
    """A trial is handed to a slot. commit: of the experiment, if it has one already. why: of a further seed."""

    experiment: int
    seed: int
    slot: int
    attempt: int = 1
    commit: str = ""
    purpose: Purpose = Purpose.FIRST
    why: str = ""
    at: float = 0.0
    event: Literal["start"] = "start"

    def work(self, experiment: Experiment) -> Work:
        """What the slot was handed. experiment: this one."""
        return Work(experiment, self.seed, self.attempt, self.commit, self.purpose, self.why)


@dataclass(frozen=True)
class TrialEnded:
    outcome: Outcome
    at: float = 0.0
    event: Literal["outcome"] = "outcome"


@dataclass(frozen=True)
class TrialLost:
    """A trial that says nothing of its experiment, as when its node has gone: it is run again."""

    trial: str
    experiment: int
    seed: int
    reason: str
    at: float = 0.0
    event: Literal["lost"] = "lost"


@dataclass(frozen=True)
class SlowTrial:
    """A trial whose slot was slow: it is run again, whatever it left."""

    trial: str
    experiment: int
    seed: int
    at: float = 0.0
    event: Literal["slow"] = "slow"


@dataclass(frozen=True)
class CardTooSmall:
    """A trial that ran out of memory on a card of so many MB, while a larger one is there: it is run again on that."""

    trial: str
    experiment: int
    seed: int
    memory_mb: float
    at: float = 0.0
    event: Literal["too_small"] = "too_small"


@dataclass(frozen=True)
class CrashRechecked:
    """A crash, one of several in a row on its slot, is withdrawn: another slot runs the same, and says whose fault it
    was."""

    trial: str
    experiment: int
    seed: int
    slot: int
    at: float = 0.0
    event: Literal["recheck"] = "recheck"


@dataclass(frozen=True)
class SlotPutAside:
    """A slot that is at fault itself gets no work for a while; what crashed on it is withdrawn and run again."""

    number: int
    reason: str
    trials: list[str]
    at: float = 0.0
    event: Literal["slot_aside"] = "slot_aside"


@dataclass(frozen=True)
class Decided:
    decision: Decision
    at: float = 0.0
    event: Literal["decision"] = "decision"


@dataclass(frozen=True)
class AuditRecorded:
    """The test images were opened, and what they said."""

    found: dict[str, Any]
    at: float = 0.0
    event: Literal["audit"] = "audit"


@dataclass(frozen=True)
class TurnBegun:
    """The agent is asked."""

    turn: Turn
    at: float = 0.0
    event: Literal["turn"] = "turn"


@dataclass(frozen=True)
class ProposalRecorded:
    """An edit, and what the checks said."""

    proposal: Proposal
    at: float = 0.0
    event: Literal["proposal"] = "proposal"


@dataclass(frozen=True)
class PauseSet:
    paused: bool
    at: float = 0.0
    event: Literal["pause"] = "pause"


@dataclass(frozen=True)
class SlotJoined:
    slot: Slot
    at: float = 0.0
    event: Literal["slot"] = "slot"


@dataclass(frozen=True)
class SlotLeft:
    number: int
    reason: str
    at: float = 0.0
    event: Literal["slot_left"] = "slot_left"


Event = (
    SearchBegun
    | SessionBegun
    | ExperimentPlanned
    | TrialStarted
    | TrialEnded
    | TrialLost
    | SlowTrial
    | CardTooSmall
    | CrashRechecked
    | SlotPutAside
    | Decided
    | AuditRecorded
    | TurnBegun
    | ProposalRecorded
    | PauseSet
    | SlotJoined
    | SlotLeft
)
_DECISION = "decision "  # titles of decisions begin with it
_ANY = Annotated[Event, Field(discriminator="event")]


def to_line(event: Event) -> str:
    """An event as one line of JSON; from_line reads it again."""
    return json.dumps(adapter_of(type(event)).dump_python(event, mode="json"), ensure_ascii=False)


def from_line(line: str) -> Event:
    """Raises codec.DecodeError naming the field, for a line of another shape or an unknown event."""
    found: Event = checked(adapter_of(_ANY).validate_json, line)
    return found


def title_of(event: Event) -> str:
    """An event in a few words, as `git log` of the journal shows it."""
    match event:
        case TrialEnded(outcome):
            return f"outcome {outcome.trial} {'crash' if outcome.crashed else 'score'}"
        case Decided(decision):
            return f"{_DECISION}{decision.experiment} {decision.status}"
        case ExperimentPlanned(experiment):
            return f"experiment {experiment.number}"
        case ProposalRecorded(proposal):
            return f"proposal {proposal.number} {'refused' if proposal.refused else 'passed'}"
        case TrialStarted(experiment, seed) | TrialLost(_, experiment, seed) | CrashRechecked(_, experiment, seed):
            return f"{event.event} {experiment} seed {seed}"
        case SlotJoined(slot):
            return f"slot {slot.number}"
        case SlotLeft(number) | SlotPutAside(number):
            return f"{event.event} {number}"
        case _:
            return event.event


def is_title_of_decision(title: str) -> bool:
    """Whether a title is that of a decision, so that they can be counted without being decoded."""
    return title.startswith(_DECISION)
