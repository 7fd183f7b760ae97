"""What a search's driver knows of one node, and how it calls what runs there or what others call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from search.cluster.node_manager import Report


class Phase(Enum):
    ARRIVING = auto()
    PREPARING = auto()
    READY = auto()
    REFUSED = auto()  # its slots are not used
    LEAVING = auto()  # its slots end with what they run now


@dataclass
class Member:
    """One node. ray_id: until Ray ends there; report.name: for life. node_manager: None on the driver's own machine."""

    ray_id: str
    host: str
    logical: int  # GPUs that Ray counts
    node_manager: Any = None
    phase: Phase = Phase.ARRIVING
    report: Report | None = None
    dataset: str = ""
    reason: str = ""  # why it is refused
    waits_for: Any = None  # what was asked of its node_manager
    then: Callable[[Any], None] = lambda answer: None
    asked: float = 0.0
    tries: int = 1  # at starting its node_manager
    failures: int = 0  # trials in a row that could not begin or be delivered there

    def card(self, gpu: str) -> dict[str, Any]:
        """What is known of one of its GPUs."""
        cards = self.report.cards if self.report else []
        unknown = {"gpu": gpu, "model": "", "memory_mb": None}
        return next((card for card in cards if card["gpu"] == gpu), unknown)


class RemoteExchange:
    """Calls an exchange that is an actor as if it were here."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle

    def __getattr__(self, method: str) -> Callable[..., Any]:
        if method.startswith("_"):
            raise AttributeError(method)
        return lambda *arguments: ray.get(getattr(self.handle, method).remote(*arguments))

    def __reduce__(self) -> tuple[Any, ...]:
        return RemoteExchange, (self.handle,)


def pinned_to(ray_id: str) -> NodeAffinitySchedulingStrategy:
    return NodeAffinitySchedulingStrategy(ray_id, soft=False)
