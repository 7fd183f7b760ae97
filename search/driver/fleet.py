"""The nodes of a search as its driver sees them: who is there, which slots they have, and what a lost one had begun.

Runs in the driver's thread: `poll`, at every turn of Tune's loop, never waits for a node.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import ray

from search.cluster.compatibility import differences
from search.cluster.exchange import ArtifactExchange, Shared
from search.cluster.node_manager import NodeManager, Report, report
from search.core.types import SearchError, Work
from search.driver.coordinator import Coordinator
from search.driver.lost_trials import LostTrials
from search.driver.nodes import SEES_GPUS, Member, Phase, RemoteExchange, cards_at, pinned_to, why_none_runs
from search.system.gpus import is_model
from search.trial.run import SlotSetup
from search.trial.sealed import id_of

LOOK_SECONDS = 1.0
NOTICE_SECONDS = 5.0
EXPECTED_SECONDS = 60.0  # a GPU that was found is a slot within, or another job has it
SETTLED_SECONDS = 120.0  # a node that does not say what it is in this time is not waited for
AGAIN = "again"  # in place of an answer: its node_manager is to be started again
AGAIN_SECONDS = 10.0
MOST_TRIES = 3
MOST_FAILURES = 2
RECONSIDER_SECONDS = 30.0
DRIVER_NODE = "home"  # the driver's machine, whatever its name is today: it is where the repository is


class Fleet:
    """most: how many slots the search may have; None: all there are. model: part of a card's name that slots must
    have, in any letter case; '' for any. setup: a slot's, on the driver's machine."""

    def __init__(
        self, coordinator: Coordinator, setup: SlotSetup, most: int | None, model: str = "", joined: bool = False
    ) -> None:
        self.coordinator, self.setup, self.most, self.model = coordinator, setup, most, model
        self.joined = joined
        self.driver_node = ray.get_runtime_context().get_node_id()
        self.members: dict[str, Member] = {}
        self.lost_trials = LostTrials(coordinator, self.members, self.driver_node)
        self.reserved: dict[tuple[str, str], tuple[int, float]] = {}  # node and GPU -> number, until when expected
        self._exchange: Any = None
        self._looked = 0.0
        self._began = time.monotonic()
        self._settled = self._enrolled = False
        self._reconsidered = time.monotonic()
        self._numbered: set[str] = set()

    # --- what slots need to know ---

    @property
    def excluded(self) -> list[str]:
        """Ray's ids of nodes on which no placeholder trial shall land."""
        return sorted(filter(self.is_excluded, self.members))

    @property
    def settled(self) -> bool:
        """Whether every node that was there at the start has said what it is and what it had left."""
        late = time.monotonic() - self._began > SETTLED_SECONDS
        settled = bool(self.members) and all(m.phase is not Phase.ARRIVING for m in self.members.values())
        self._settled = self._settled or late or settled
        return self._settled

    def is_ready(self, ray_id: str) -> bool:
        return ray_id in self.members and self.members[ray_id].phase is Phase.READY

    def is_excluded(self, ray_id: str) -> bool:
        return ray_id in self.members and self.members[ray_id].phase in (Phase.REFUSED, Phase.LEAVING)

    def is_wanted(self, ray_id: str, gpu: str) -> bool:
        """Whether the search has a use for this GPU, as far as its node has reported."""
        member = self.members.get(ray_id)
        return member is None or member.report is None or is_model(member.card(gpu), self.model)

    def waits_aside(self, ray_id: str, gpu: str, fault: str) -> bool:
        """Whether the placeholder trial of a GPU with this fault shall hold it, so that no other one gets it."""
        member = self.members.get(ray_id)
        if member and gpu not in member.broken:
            self.coordinator.announce(f"aside   GPU {gpu} of {member.host}: {fault}")
        return member is not None and member.is_broken(gpu, fault)

    def slot_of(self, ray_id: str, gpu: str) -> int | None:
        """The number of the slot that has come up there; None: it must wait until its node has reported what it is."""
        member = self.members.get(ray_id)
        if not self.settled or member is None or member.report is None:
            return None
        card, key = member.card(gpu), (member.report.name, gpu)
        number = self._number_of(*key)
        self.reserved.pop(key, None)
        self._expect()
        self._enrolled = True
        self.coordinator.enrol(number, *key, member.host, card["model"], card["memory_mb"])
        return number

    def place_of(self, ray_id: str) -> dict[str, Any] | None:
        """What a slot's setup has of its node; None: the node has gone. is_driver_node: whether it is the driver's."""
        member = self.members.get(ray_id)
        if member is None:
            return None
        shares = max(len(member.report.cards), 1) if member.report else 1
        return {"is_driver_node": member.node_manager is None, "dataset": member.dataset, "shares": shares}

    def _number_of(self, node: str, gpu: str) -> int:
        if (node, gpu) in self.reserved:
            return self.reserved[(node, gpu)][0]
        taken = [number for number, _ in self.reserved.values()]
        return self.coordinator.state.number_of(node, gpu, taken)

    def _expect(self) -> None:
        now = time.monotonic()
        self.coordinator.expected = {number for number, until in self.reserved.values() if now < until}

    # --- at every turn ---

    def poll(self) -> None:
        """Greets nodes that have come, goes on with those that get ready, and gives up those that have gone.

        Raises SearchError if no node that there is can take part.
        """
        for member in list(self.members.values()):
            self._go_on(member)
        self._number()
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        alive = {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}
        for ray_id, node in alive.items():
            if ray_id not in self.members and node["Resources"].get("GPU", 0) >= 1:
                self._greet(ray_id, node)
        for ray_id in [ray_id for ray_id in self.members if ray_id not in alive]:
            self._gone(self.members.pop(ray_id))
        self.lost_trials.settle()
        self._number()
        self._expect()
        none_runs = why_none_runs(self.members.values()) if self.settled and not self._enrolled else ""
        if none_runs:
            raise SearchError(none_runs)
        if time.monotonic() - self._reconsidered > RECONSIDER_SECONDS:
            self._reconsidered = time.monotonic()
            self.coordinator.reconsider()

    def _greet(self, ray_id: str, node: dict[str, Any]) -> None:
        member = Member(ray_id, node["NodeManagerHostname"], int(node["Resources"]["GPU"]))
        self.members[ray_id] = member
        if ray_id == self.driver_node:
            member.dataset, member.phase = self.setup.dataset, Phase.READY
            member.report = replace(report(member.logical), name=DRIVER_NODE)
            if self.joined:  # Ray may have been started with other GPUs than this shell shows
                member.report = replace(member.report, cards=cards_at(ray_id, member.logical))
            self._check_model(member, member.report)
            return
        self._start_node_manager(member)

    def _start_node_manager(self, member: Member) -> None:
        node_manager: Any = ray.remote(num_cpus=0, max_concurrency=4)(NodeManager)  # type: ignore[call-overload]
        placed = node_manager.options(scheduling_strategy=pinned_to(member.ray_id), runtime_env=SEES_GPUS)
        search = id_of(self.coordinator.settings)
        member.node_manager = placed.remote(search, self.setup, member.logical, RemoteExchange(self._exchange_handle()))
        member.phase = Phase.ARRIVING
        self._ask(member, "arrive", lambda report: self._hear(member, report))

    def _ask(self, member: Member, method: str, then: Callable[[Any], None], *arguments: Any) -> None:
        member.waits_for, member.then = getattr(member.node_manager, method).remote(*arguments), then
        member.asked = time.monotonic()

    def _go_on(self, member: Member) -> None:
        waited = time.monotonic() - member.asked
        if member.waits_for is None:
            if member.node_manager and member.phase is Phase.READY and waited > NOTICE_SECONDS:
                self._ask(member, "notice", lambda notice: self._heed(member, notice))
            return
        if member.waits_for == AGAIN:
            if waited > AGAIN_SECONDS:
                self._start_node_manager(member)
            return
        if not ray.wait([member.waits_for], timeout=0)[0]:
            return
        asked, member.waits_for = member.waits_for, None
        try:
            answer = ray.get(asked)
        except ray.exceptions.RayTaskError as error:
            if member.phase is not Phase.READY:  # no answer about a notice is no reason
                self._refuse(member, f"{type(error.cause).__name__}: {error.cause}")
            return
        except ray.exceptions.RayError:  # its node_manager has died; whether its node has, ray.nodes() will tell
            if member.tries >= MOST_TRIES:
                self._refuse(member, "the search's process there dies again and again")
            elif member.phase is not Phase.REFUSED:
                member.tries, member.waits_for, member.asked = member.tries + 1, AGAIN, time.monotonic()
            return
        member.then(answer)

    def _hear(self, member: Member, report: Report) -> None:
        ours = self.members[self.driver_node].report if self.driver_node in self.members else report
        assert ours is not None
        refused, other = differences(ours.versions, report.versions)
        if refused:
            self._refuse(member, f"{'; '.join(refused)}: trials there would not compare")
            return
        if other:
            self.coordinator.announce(f"node    {member.host}: {'; '.join(other)}")
        if self.setup.confine and ours.confines and not report.confines:
            self.coordinator.announce(
                f"node    {member.host}: trials there are not confined: its kernel has no Landlock"
            )
        if not self._check_model(member, report):
            return
        if report.left:
            lost = {work.trial_id for work in self._waiting_to_run()}
            self._ask(member, "hand_over", lambda done: self._handed_over(member, report, done), sorted(lost))
        else:
            self._handed_over(member, report, [])

    def _check_model(self, member: Member, report: Report) -> bool:
        """Whether it has a card that is wanted; refused if not."""
        if any(is_model(card, self.model) for card in report.cards):
            return True
        models = sorted({card["model"] or "logical GPUs" for card in report.cards})
        self._refuse(member, f"it has {', '.join(models)}, not {self.model}")
        return False

    def _waiting_to_run(self) -> list[Work]:
        """Begun work that nobody runs."""
        return list(self.coordinator.state.to_rerun.values())

    def _handed_over(self, member: Member, report: Report, delivered: list[str]) -> None:
        for work in self._waiting_to_run():
            if work.trial_id in delivered:
                self.coordinator.collect(work)
        member.phase, member.report = Phase.PREPARING, report
        self._ask(member, "get_ready", lambda dataset: self._ready(member, dataset))

    def _number(self) -> None:
        """Gives new nodes' slots their numbers: in order, the driver's machine first, if all there are are used.

        If there are more, whichever come up first get the next numbers.
        """
        there = {m.ray_id: m.report for m in self.members.values() if m.report is not None}
        if not self.settled or self._numbered >= set(there):
            return
        self._numbered |= set(there)
        wanted = [
            (ray_id != self.driver_node, report.host, report.name, card["gpu"])
            for ray_id, report in there.items()
            for card in report.cards
            if is_model(card, self.model) and not self.is_excluded(ray_id)
        ]
        if self.most is not None and len(wanted) > self.most:
            return
        until = time.monotonic() + EXPECTED_SECONDS
        for _, _, node, gpu in sorted(wanted, key=lambda card: card[:3]):  # a node's own order within it
            number = self._number_of(node, gpu)
            if number not in self.coordinator.state.present:
                self.reserved.setdefault((node, gpu), (number, until))
        self._expect()

    def _ready(self, member: Member, dataset: str) -> None:
        member.dataset, member.phase = dataset, Phase.READY
        self.coordinator.announce(f"node    {member.host} has joined, with {member.logical} GPUs")

    def _heed(self, member: Member, notice: str) -> None:
        if notice and member.phase is Phase.READY:
            member.phase = Phase.LEAVING
            self._forget(member)
            self.coordinator.announce(f"node    {member.host}: {notice}; nothing new begins there")

    def _refuse(self, member: Member, reason: str) -> None:
        member.phase, member.reason = Phase.REFUSED, reason
        self._forget(member)
        self.coordinator.announce(f"node    {member.host} is not used: {reason}")

    def _forget(self, member: Member) -> None:
        """Nobody waits for slots of it any more."""
        for key in [key for key in self.reserved if member.report and key[0] == member.report.name]:
            del self.reserved[key]
        self._expect()

    def _gone(self, member: Member) -> None:
        """Its slots end by themselves, as Ray reports of their placeholder trials."""
        if member.phase is not Phase.REFUSED:
            self._forget(member)
            self.coordinator.announce(f"node    {member.host} has gone")

    # --- trials that ended ---

    def failed(self, work: Work, slot: int, ray_id: str, reason: str) -> None:
        """A trial could not begin or be delivered, for no fault of its own: it is run again, and a node that fails
        twice in a row is not used any more."""
        self.coordinator.announce(f"gpu{slot}: {reason}")
        member = self.members.get(ray_id)
        if member is not None:
            member.failures += 1
            if member.failures >= MOST_FAILURES and member.phase is Phase.READY:
                self._refuse(member, reason)
        self.lost_trials.lose(work, slot, "it could not begin or be delivered")

    def ended_well(self, ray_id: str) -> None:
        """A trial there came to its end, whatever its outcome."""
        if ray_id in self.members:
            self.members[ray_id].failures = 0

    # --- the exchange, and the end ---

    def _exchange_handle(self) -> Any:
        """Started with the first node that needs it, on the driver's machine."""
        if self._exchange is None:
            options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1, "max_concurrency": 8}
            actor: Any = ray.remote(**options)(ArtifactExchange)  # type: ignore[call-overload]
            setup = self.setup
            shared = Shared(
                setup.repository, setup.run, setup.settings.tag, setup.settings.base, setup.seal, setup.dataset
            )
            self._exchange = actor.options(scheduling_strategy=pinned_to(self.driver_node)).remote(shared)
        return self._exchange

    @property
    def exchange(self) -> RemoteExchange:
        return RemoteExchange(self._exchange_handle())

    def traffic(self) -> dict[str, int]:
        """By ArtifactExchange.traffic; empty if no other node ever came."""
        if self._exchange is None:
            return {}
        try:
            return dict(ray.get(self._exchange.traffic.remote(), timeout=5))
        except ray.exceptions.RayError:
            return {}

    def close(self, patience: float = 40.0) -> None:
        """Ends the trials on other nodes, and removes from them what the search needs there no more. Call it when the
        slots' actors have been ended."""
        try:
            state = self.coordinator.state
            begun = [*state.to_rerun.values(), *(running.work for running in state.in_flight.values())]
            wanted = [work.trial_id for work in begun]
            asked = [member.node_manager.end.remote(wanted) for member in self.members.values() if member.node_manager]
            if asked:
                ray.wait(asked, num_returns=len(asked), timeout=patience)
        except ray.exceptions.RayError:  # Ray has ended; what lies there is removed when the nodes join again
            return
