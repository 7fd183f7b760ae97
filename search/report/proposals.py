"""What became of each proposal. Pure, from a search's records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search.core.codec import encode
from search.core.types import SHORT_HASH, Decision, Proposal, Status, short
from search.report.costs import Records


@dataclass(frozen=True)
class Fate:
    """status: refused, waiting, running, or what was decided. reason: '' while nothing is decided."""

    status: str
    reason: str = ""

    @property
    def line(self) -> str:
        """Both in one line."""
        return f"{self.status}: {self.reason.partition(chr(10))[0]}" if self.reason else self.status


def fate_of(proposal: Proposal, decision: Decision | None, begun: bool = False) -> Fate:
    """decision: on the experiment that it became. begun: whether it is one already."""
    if proposal.refused:
        return Fate("refused", proposal.refused)
    if decision is None:
        return Fate("running" if begun else "waiting")
    return Fate(str(decision.status), decision.reason)


def proposals_of(records: Records) -> list[dict[str, Any]]:
    """Each proposal with its fate, oldest first: refused, waiting, or what was decided."""
    latest = {one.proposal: one for one in records.decisions if one.proposal is not None}
    found = []
    for one in records.proposals:
        fate = fate_of(one, latest.get(one.number))
        found.append(
            {
                "number": one.number,
                "author": one.author,
                "turn": one.turn,
                "idea": one.idea,
                "commit": short(one.commit) or None,
                "status": fate.status,
                "reason": fate.reason.partition("\n")[0],
                "kept": fate.status == Status.KEEP,
                "cost": encode(one.cost),
            }
        )
    return found


def proposal_lines(proposals: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line for each proposal."""
    return [
        f"- {one['number']} `{one['commit'] or '-' * SHORT_HASH}` {one['idea'] or '(no idea named)'} "
        f"[{one['author']}]: {one['status']}" + (f", {one['reason']}" if one["reason"] else "")
        for one in proposals
    ]
