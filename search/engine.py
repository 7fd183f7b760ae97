"""Ray Tune's part: a Searcher that hands out empty tickets, and a Trainable that is a slot and asks for its work.

Tune alone decides which actor runs a ticket, and only the actor knows which GPU it has. So a ticket says nothing: the
slot that got it asks at the desk, and the driver, at every turn of Tune's loop, answers those that have asked.
"""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.search import Searcher

from search.cluster.away import run_away, setup_at
from search.cluster.fleet import Fleet, RemoteDepot, pinned_to
from search.cluster.node import SearchFolder, node_folder
from search.coordinator import Coordinator
from search.plan import Pause
from search.sealed import id_of
from search.trial import run_trial
from search.types import Experiment, SearchError, UsageError, Work, from_json, to_json
from search.worktree import clean_environment

CPUS_PER_TRIAL = 0.01  # a slot is a GPU; whole CPUs would leave slots idle on a small machine, silently
MOST_PENDING = 32  # tickets that wait for a GPU: what a cluster that grows is asked for at once
REACH_SECONDS = 10.0
NEW = "slot "  # before what a slot is called at the desk until it has a number
NO_WORK: dict[str, Any] = {}
NOT_USED = -1


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
class Desk:
    """Where slots wait for their number, and then for their work. It keeps nothing that matters: after a restart the
    slots ask again."""

    def __init__(self) -> None:
        self.waiting: dict[str, tuple[Any, asyncio.Future[Any]]] = {}

    async def _wait(self, who: str, about: Any) -> Any:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.waiting[who] = (about, answer)
        return await answer

    async def number(self, ticket: str, ray_id: str, gpu: str) -> int:
        """The number of the slot of this GPU, NOT_USED where it is none; waits until the driver knows."""
        return int(await self._wait(NEW + ticket, (ray_id, gpu)))

    async def ask(self, ticket: str, slot: int, ray_id: str) -> dict[str, Any]:
        """The work of a ticket, NO_WORK where there is none for this slot; waits until the driver answers."""
        return dict(await self._wait(ticket, (slot, ray_id)))

    async def asking(self) -> dict[str, Any]:
        """Who waits, and what it has told."""
        return {who: about for who, (about, _) in self.waiting.items()}

    async def answer(self, who: str, answer: Any) -> None:
        if who in self.waiting:
            self.waiting.pop(who)[1].set_result(answer)


class Slot(tune.Trainable):
    """The actor of one slot. A ticket is the slot's for as long as it lives, and each trial is one step of it.

    A ticket for each trial would let Tune hand a slot's ticket to another one, and end the actor that is just starting
    for it: where many slots end trials, a node that joins would hardly ever get a slot up.
    """

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        elsewhere: dict[str, Any] = {}
        if config["excluded"]:
            elsewhere["bundle_label_selector"] = [{"ray.io/node-id": f"!in({','.join(config['excluded'])})"}]
        return tune.PlacementGroupFactory([{"GPU": 1, "CPU": CPUS_PER_TRIAL}], **elsewhere)

    def setup(self, config: dict[str, Any]) -> None:
        clean_environment()
        ids = [str(gpu) for gpu in ray.get_gpu_ids()]
        self.gpu = ids[0] if ids else "0"
        self.ray_id = ray.get_runtime_context().get_node_id()
        self.tag, self.desk = config["setup"].tag, config["desk"]
        self.depot: Any = RemoteDepot(config["depot"])  # the handle alone can be copied, as Tune does
        self.search, self.of_driver = config["search"], config["setup"]
        self.number: int = ray.get(self.desk.number.remote(self.trial_id, self.ray_id, self.gpu))

    def step(self) -> dict[str, Any]:
        """One trial: `ended` where it left an outcome at home, `failed` where it could not begin or be delivered."""
        if self.number == NOT_USED:
            return {"done": True}
        answer = ray.get(self.desk.ask.remote(self.trial_id, self.number, self.ray_id))
        if answer == NO_WORK:
            return {"done": True}
        work = Work(**(answer["work"] | {"experiment": from_json(Experiment, answer["work"]["experiment"])}))
        place = answer["place"]
        threads = max((os.cpu_count() or 1) // place["shares"], 1)
        setup = replace(self.of_driver, slot=self.number, gpu=self.gpu, threads=threads)
        if place["home"]:
            run_trial(setup, work)
            return {"done": False, "ended": True}
        try:
            run_away(setup_at(SearchFolder.of(node_folder(), self.search), setup, place["dataset"]), work, self.depot)
        except (SearchError, OSError) as error:
            return {"done": False, "failed": f"{type(error).__name__}: {error}"}
        return {"done": False, "ended": True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing to save: what a trial leaves is its outcome file and its commit."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing to load."""

    def __repr__(self) -> str:
        return f"gpu{self.number} ({self.tag})" if getattr(self, "number", NOT_USED) != NOT_USED else "slot"


class RunEnded(BaseException):
    """Leaves Tune's loop at once, also while slots are busy: an Exception would wait for their trials to end."""


class Tickets(Searcher):
    """Hands out a ticket for every slot that there may be, and tells the coordinator how each of their trials ended."""

    def __init__(
        self,
        coordinator: Coordinator,
        fleet: Fleet,
        held: Callable[[], AbstractContextManager[None]] = nullcontext,
        beside: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(metric="done", mode="max")
        self.coordinator, self.fleet = coordinator, fleet
        self.desk = Desk.options(scheduling_strategy=pinned_to(fleet.home)).remote()  # type: ignore[attr-defined]
        self.search, self.tag = id_of(coordinator.settings), coordinator.names.tag
        self.open: dict[str, Work | None] = {}  # tickets handed out, with what their slot runs now
        self.slots: dict[str, tuple[int, str]] = {}  # of a ticket that has come up: its slot, and Ray's id of the node
        self.unwanted: set[str] = (
            set()
        )  # tickets on GPUs that the search has no use for, which they keep from the others
        self.held = held  # while within, signals wait
        self.beside = beside  # what else the driver does at every turn of Tune's loop
        self.finished = False
        self.failed: BaseException | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles what it is given, for a restore that is never asked for."""
        return {}

    def suggest(self, trial_id: str) -> Any:
        if self.finished:
            return Searcher.FINISHED
        if self.fleet.most is not None and len(self.open) - len(self.unwanted) >= self.fleet.most:
            return None
        self.open[trial_id] = None
        return {
            "setup": self.fleet.setup,
            "search": self.search,
            "desk": self.desk,
            "depot": self.fleet.depot.handle if self.fleet.joined else None,
            "excluded": self.fleet.excluded,
        }

    def turn(self) -> None:
        """What the driver does at every turn of Tune's loop. Raises what the coordinator raises."""
        with self.held():
            self.fleet.poll()
        self.answer_all()
        with self.held():
            self.beside()

    def answer_all(self) -> None:
        """Answers every slot that waits, where there is something for it."""
        asking: dict[str, Any] = ray.get(self.desk.asking.remote())
        for who, (ray_id, gpu) in asking.items():
            if who.startswith(NEW):
                answer = self._number_for(who.removeprefix(NEW), ray_id, gpu)
                if answer is not None:
                    ray.get(self.desk.answer.remote(who, answer))
        waiting = {who: about for who, about in asking.items() if not who.startswith(NEW)}
        for ticket, (slot, ray_id) in sorted(waiting.items(), key=lambda item: item[1]):
            told = self._answer_for(ticket, slot, ray_id)
            if told is not None:
                ray.get(self.desk.answer.remote(ticket, told))

    def _number_for(self, ticket: str, ray_id: str, gpu: str) -> int | None:
        """None: it must wait."""
        if ticket not in self.open or self.fleet.is_excluded(ray_id):
            return NOT_USED
        if not self.fleet.is_wanted(ray_id, gpu):
            self.unwanted.add(ticket)
            return None
        with self.held():
            number = self.fleet.slot_of(ray_id, gpu)
        if number is not None:
            self.slots[ticket] = (number, ray_id)
        return number

    def _answer_for(self, ticket: str, slot: int, ray_id: str) -> dict[str, Any] | None:
        """None: it must wait."""
        place = self.fleet.place_of(ray_id)
        if ticket not in self.open or place is None or (self.open[ticket] is None and self.fleet.is_excluded(ray_id)):
            return NO_WORK
        work = self.open[ticket] or (self._work_for(ticket, slot) if self.fleet.is_ready(ray_id) else None)
        if isinstance(work, Pause):
            return NO_WORK
        return None if work is None else {"work": to_json(work), "place": place}

    def _work_for(self, ticket: str, slot: int) -> Work | Pause | None:
        with self.held():
            work = self.coordinator.next_work(slot)
            if work is Pause.WAIT:
                return None
            if isinstance(work, Work):
                self.open[ticket] = work
            else:
                self.finished = True
        return work

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """A trial of a slot has come to its end."""
        work = self.open.get(trial_id)
        if work is None or trial_id not in self.slots:
            return
        self.open[trial_id] = None
        slot, ray_id = self.slots[trial_id]
        try:
            with self.held():
                if "failed" in result:
                    self.fleet.failed(work, slot, ray_id, result["failed"])
                else:
                    self.fleet.ended_well(ray_id)
                    self.coordinator.record(self.coordinator.lost_work(work, slot, "its outcome has gone"))
        except Exception as failure:  # an exception in a hook would end Tune with a traceback of its own
            self.failed = self.failed or failure

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A slot has come to its end."""
        work = self.open.pop(trial_id, None)
        self.unwanted.discard(trial_id)
        slot, ray_id = self.slots.pop(trial_id, (NOT_USED, ""))
        if slot == NOT_USED or self.finished:
            return
        try:
            with self.held():
                if slot not in {number for number, _ in self.slots.values()}:  # its node is not back already
                    self.coordinator.leave(slot, "its worker has gone" if error else "its node is not used any more")
                if work is not None:
                    self.fleet.doubt(work, slot, ray_id)
        except Exception as failure:  # as above
            self.failed = self.failed or failure

    def save(self, checkpoint_path: str) -> None:
        """State comes from the journal, never from Tune's files."""

    def restore(self, checkpoint_path: str) -> None:
        """See save."""


class EveryTurn(tune.Callback):
    """Answers the slots at every turn of Tune's loop, about ten times a second, and ends the run where it must."""

    def __init__(self, tickets: Tickets) -> None:
        self.tickets = tickets

    def __getstate__(self) -> dict[str, Any]:
        """As for Tickets."""
        return {}

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        try:
            if self.tickets.failed is None:
                self.tickets.turn()
        except ray.exceptions.RayError as failure:
            told = f"Ray failed: {' '.join(str(failure).split())}; begin again with --resume {self.tickets.tag}"
            self.tickets.failed = SearchError(told)
        except Exception as failure:
            self.tickets.failed = failure
        if self.tickets.failed is not None or self.tickets.finished:
            raise RunEnded


def set_up_ray(slots: int) -> dict[str, Any]:
    """Settings of Ray and Tune that hold for every search; what ray.init is given."""
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(slots)
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # launch handles signals, so that no record is cut in two
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = "1e9"  # nobody reads Tune's state, and it is written whole each time
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    return {"log_to_driver": False, "logging_level": "error"}


def start_ray(slots: int, dashboard: bool) -> str:
    """Starts Ray on this machine with so many slots; the dashboard's address, or ''. Raises SearchError."""
    root = str(Path(__file__).resolve().parent.parent)
    return _init_ray(
        "",
        **set_up_ray(slots),
        address="local",  # whatever RAY_ADDRESS says
        num_gpus=slots,
        num_cpus=max(os.cpu_count() or 1, slots),
        include_dashboard=dashboard,
        runtime_env={"env_vars": {"PYTHONPATH": root}},
    )


def join_ray(address: str) -> str:
    """Joins the cluster at an address, of which this machine must be a node; the dashboard's address, or ''.

    The search's own code goes to the other nodes with it. Raises SearchError, or UsageError for a client's address.
    """
    if address.startswith("ray://"):
        raise UsageError(f"--address {address}: start the search on a node of the cluster, with --address auto")
    host, _, port = address.rpartition(":")
    if address != "auto" and not (host and port.isdecimal()):
        raise UsageError(f"--address {address}: auto, or the address of the head, as in 10.0.0.1:6379")
    if address != "auto":
        try:
            socket.create_connection((host, int(port)), REACH_SECONDS).close()  # Ray itself would try for minutes
        except OSError as error:
            raise SearchError(
                f"Ray did not start at {address}: {error}; is that the head, and does Ray run?"
            ) from error
    if (Path.home() / ".ray" / "auth_token").exists():
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # by an address, Ray would not look for it
    root = Path(__file__).resolve().parent.parent
    code = [str(root / "search"), str(root / "prepare.py")]
    excludes = ["__pycache__"]
    return _init_ray(
        f" at {address}",
        **set_up_ray(MOST_PENDING),
        address=address,
        runtime_env={"py_modules": code, "excludes": excludes},
    )


def _init_ray(where: str, **arguments: Any) -> str:
    try:
        context = ray.init(**arguments)
    except Exception as error:  # Ray raises many kinds, a bare Exception among them; each means the same here
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SearchError(f"Ray did not start{where}: {first}") from error
    return f"http://{context.dashboard_url}" if context.dashboard_url else ""


def gpus_of_cluster() -> int:
    """How many GPUs Ray counts on all nodes that are there."""
    return sum(int(node["Resources"].get("GPU", 0)) for node in ray.nodes() if node["Alive"])


def end_slots() -> None:
    """Ends the slots' actors at once; trials end with them, and say nothing. Call it when run_search has returned."""
    gc.collect()  # Tune holds its actors, and lets go of them when it is itself let go of


def stop_ray() -> None:
    """Ends the slots and the Ray that start_ray started; leaves a cluster that it joined running."""
    ray.shutdown()


def run_search(tickets: Tickets, storage: Path) -> None:
    """Runs the whole search as one Tune run. Raises the error that ended it, if one did.

    storage: where Tune puts files that nobody needs; those of an earlier session are removed.
    """
    shutil.rmtree(storage, ignore_errors=True)
    storage.mkdir(parents=True)
    tuner = tune.Tuner(
        Slot,
        tune_config=tune.TuneConfig(
            search_alg=tickets,
            num_samples=-1,
            reuse_actors=False,  # a ticket is its slot's for life
            metric="done",
            mode="max",
            trial_dirname_creator=lambda trial: str(trial.trial_id),
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(storage),
            verbose=0,
            callbacks=[EveryTurn(tickets)],
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
        ),
    )
    try:
        tuner.fit()
    except RunEnded:
        pass
    except (ray.exceptions.RayError, tune.TuneError) as error:
        raise SearchError(f"Ray failed: {' '.join(str(error).split())[:500]}") from error
    if tickets.failed is not None:
        raise tickets.failed from None
