"""What a search's driver knows of one node, and how it calls what runs there or what others call."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from search.cluster.node import cards
from search.cluster.node_manager import Report
from search.core.health import ASIDE_SECONDS

SEES_GPUS = {"env_vars": {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}}  # an actor without GPUs of its own


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
    broken: dict[str, tuple[str, float]] = field(default_factory=dict)  # GPU -> what is wrong with it, since when

    def card(self, gpu: str) -> dict[str, Any]:
        """What is known of one of its GPUs."""
        cards = self.report.cards if self.report else []
        unknown = {"gpu": gpu, "model": "", "memory_mb": None}
        return next((card for card in cards if card["gpu"] == gpu), unknown)

    def is_broken(self, gpu: str, fault: str) -> bool:
        """Whether a GPU with this fault is not to be asked again yet; what is known of it is kept meanwhile."""
        _, since = self.broken.setdefault(gpu, (fault, time.monotonic()))
        if time.monotonic() - since < ASIDE_SECONDS:
            return True
        del self.broken[gpu]
        return False


def why_none_runs(members: Collection[Member]) -> str:
    """Why no slot can come of any of these nodes; '' if one may."""
    refused = [f"{m.host}: {m.reason}" for m in members if m.phase is Phase.REFUSED]
    if len(refused) == len(members) > 0:
        return f"no node can take part: {'; '.join(sorted(refused))}"
    broken = [f"{gpu}: {fault}" for member in members for gpu, (fault, _) in member.broken.items()]
    if len(broken) == sum(member.logical for member in members if member.phase is not Phase.REFUSED) > 0:
        return f"no GPU can be used: {'; '.join(broken)}"
    return ""


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


def cards_at(ray_id: str, logical: int) -> list[dict[str, Any]]:
    """node.cards of a node that Ray has."""
    remote = ray.remote(num_cpus=0)(cards).options(scheduling_strategy=pinned_to(ray_id), runtime_env=SEES_GPUS)
    found: list[dict[str, Any]] = ray.get(remote.remote(logical))
    return found
