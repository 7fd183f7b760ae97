"""What a running search says to people, a line each."""

from __future__ import annotations

from pathlib import Path

from search.core.events import CrashRechecked, SlotPutAside
from search.core.health import ASIDE_SECONDS
from search.core.state import State
from search.core.task import Task
from search.core.types import SHORT_HASH, Decision, Proposal, SearchError, short
from search.report.proposals import fate_of


def decision_line(decision: Decision, task: Task) -> str:
    """A row, as it is decided."""
    score = task.shown(decision.score) if decision.score else ""
    note = f" [{decision.note}]" if decision.note else ""
    seeds = f" ({len(decision.seeds)} seeds)" if len(decision.seeds) > 1 else ""
    return (
        f"{decision.status:7} {short(decision.commit)} gpu{decision.slot} {score}{seeds} "
        f"{task.rates_text(decision.metrics)}  {decision.description}{note}"
    )


def slot_line(event: CrashRechecked | SlotPutAside) -> str:
    """What became of a slot on which trials crashed."""
    if isinstance(event, CrashRechecked):
        return f"recheck {event.trial}: several trials crashed on gpu{event.slot} in a row; another slot tries this one"
    again = f"; {', '.join(event.trials)} are run again" if event.trials else ""
    return f"aside   gpu{event.number}: {event.reason}; it is tried again in {ASIDE_SECONDS / 60:.0f} minutes{again}"


def proposal_line(proposal: Proposal) -> str:
    """A proposal, when its checks are over."""
    fate = f"refused: {proposal.refused}" if proposal.refused else f"{fate_of(proposal, None).line} for a slot"
    commit = short(proposal.commit) or "-" * SHORT_HASH
    return f"propose {commit} {proposal.author}  {proposal.idea} [{fate}]"


def machine_is_broken(state: State, folder: Path) -> SearchError:
    """Nothing runs any more, not even the incumbent; or no slot can be trusted."""
    aside = [f"gpu{slot}: {why}" for slot, (_, why) in sorted(state.health.aside.items()) if slot in state.present]
    if len(aside) == len(state.present) > 0:
        return SearchError(
            f"every slot was put aside ({'; '.join(aside)}): mend them, then --resume {state.settings.tag}"
        )
    last = state.ended[-1]
    return SearchError(
        f"the last {state.crashes_in_a_row} trials crashed, the incumbent's too, which had run before: "
        f"something is wrong with this machine ({last.reason}); see gpu{last.slot}/trials/{last.trial}/run.log "
        f"in {folder}, mend it, then --resume {state.settings.tag}"
    )
