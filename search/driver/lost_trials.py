"""Trials whose worker has gone: did they crash, or was their node lost? Never waits for a node."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import ray

from search.core.types import Work
from search.driver.coordinator import Coordinator
from search.driver.nodes import Member

SUSPICION_SECONDS = 90.0  # Ray takes up to a minute to find that a node is out of reach
LAST_GASP_SECONDS = 3.0  # what a dead raylet leaves behind may still answer for a moment
MOST_LOST = 3  # a trial that lost so many nodes may be what they die of


@dataclass
class SuspectedFailure:
    """A trial whose worker has gone: with its node, or alone?"""

    work: Work
    slot: int
    ray_id: str
    ping: Any = None
    since: float = field(default_factory=time.monotonic)


class LostTrials:
    """members: nodes by Ray's id, as the fleet keeps them."""

    def __init__(self, coordinator: Coordinator, members: Mapping[str, Member], driver_node: str) -> None:
        self.coordinator, self.members, self.driver_node = coordinator, members, driver_node
        self.suspected: list[SuspectedFailure] = []

    def suspect(self, work: Work, slot: int, ray_id: str) -> None:
        """A trial's worker has died: alone, then it is a crash; or with its node, then the trial is run again."""
        member = self.members.get(ray_id)
        if ray_id == self.driver_node:
            self.coordinator.record_crash(work, slot, "its slot's worker died")
        elif member is None or member.node_manager is None:
            self.lose(work, slot, "its node has gone")
        else:
            self.suspected.append(SuspectedFailure(work, slot, ray_id))

    def settle(self) -> None:
        """Goes on with what is suspected: the node answers, or it does not."""
        for one in list(self.suspected):
            member, waited = self.members.get(one.ray_id), time.monotonic() - one.since
            if member and one.ping is None and waited > LAST_GASP_SECONDS:
                one.ping = member.node_manager.notice.remote()
            answers = _answers(one.ping) if member else False
            if answers is False or waited > SUSPICION_SECONDS:
                self.suspected.remove(one)
                self.lose(one.work, one.slot, "its node has gone")
            elif answers:
                self.suspected.remove(one)
                self.coordinator.record_crash(one.work, one.slot, "its slot's worker died")

    def lose(self, work: Work, slot: int, reason: str) -> None:
        """The trial is run again; but not for ever."""
        losses = self.coordinator.state.losses[work.key] + 1
        if losses > MOST_LOST:
            self.coordinator.record_crash(work, slot, f"{losses} nodes were lost, or failed, while it ran")
        else:
            self.coordinator.lose(work, slot, reason)


def _answers(ping: Any) -> bool | None:
    """Whether a node manager has answered; None: not yet."""
    if ping is None or not ray.wait([ping], timeout=0)[0]:
        return None
    try:
        ray.get(ping)
    except ray.exceptions.RayError:
        return False
    return True
