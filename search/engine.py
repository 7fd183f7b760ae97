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
from search.cluster.fleet import Fleet, pinned_to
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

    async def number(self, ray_id: str, gpu: str) -> int:
        """The number of the slot of this GPU; waits until the driver has one for it."""
        return int(await self._wait(f"{NEW}{ray_id} {gpu}", (ray_id, gpu)))

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
    """The actor of one slot. It is reused for every trial of the slot; each trial is one step."""

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
        self.tag, self.desk, self.depot = config["setup"].tag, config["desk"], config["depot"]
        self.search, self.of_driver = config["search"], config["setup"]
        self.number: int = ray.get(self.desk.number.remote(self.ray_id, self.gpu))

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.depot = new_config["depot"]
        return True

    def step(self) -> dict[str, Any]:
        answer = ray.get(self.desk.ask.remote(self.trial_id, self.number, self.ray_id))
        if answer == NO_WORK:
            return {"done": True}
        work = Work(**(answer["work"] | {"experiment": from_json(Experiment, answer["work"]["experiment"])}))
        place = answer["place"]
        threads = max((os.cpu_count() or 1) // place["shares"], 1)
        setup = replace(self.of_driver, slot=self.number, gpu=self.gpu, threads=threads)
        if place["home"]:
            run_trial(setup, work)
            return {"done": True, "ended": True}
        try:
            run_away(setup_at(SearchFolder.of(node_folder(), self.search), setup, place["dataset"]), work, self.depot)
        except (SearchError, OSError) as error:
            return {"done": True, "failed": f"{type(error).__name__}: {error}"}
        return {"done": True, "ended": True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing to save: what a trial leaves is its outcome file and its commit."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing to load."""

    def __repr__(self) -> str:
        return f"gpu{self.number} ({self.tag})" if hasattr(self, "number") else "slot"


class RunEnded(BaseException):
    """Leaves Tune's loop at once, also while slots are busy: an Exception would wait for their trials to end."""


class Tickets(Searcher):
    """Hands out a ticket whenever Tune has a free slot, and tells the coordinator how each one ended."""

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
        self.open: dict[str, Work | None] = {}  # tickets handed out, with their work once they have some
        self.slot_of: dict[str, tuple[int, str]] = {}  # of a ticket with work: its slot, and Ray's id of the node
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
        self.open[trial_id] = None
        return {
            "setup": self.fleet.setup,
            "search": self.search,
            "desk": self.desk,
            "depot": self.fleet.depot if self.fleet.joined else None,
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
        new = {who: about for who, about in asking.items() if who.startswith(NEW)}
        waiting = {who: about for who, about in asking.items() if who not in new}
        busy = {slot for slot, _ in [*self.slot_of.values(), *waiting.values()]}
        for who, (ray_id, gpu) in new.items():
            with self.held():
                number = self.fleet.slot_of(ray_id, gpu, busy)
            if number is not None:
                busy.add(number)
                ray.get(self.desk.answer.remote(who, number))
        for ticket, (slot, ray_id) in sorted(waiting.items(), key=lambda item: item[1]):
            answer = self._answer_for(ticket, slot, ray_id)
            if answer is not None:
                ray.get(self.desk.answer.remote(ticket, answer))

    def _answer_for(self, ticket: str, slot: int, ray_id: str) -> dict[str, Any] | None:
        """None: it must wait."""
        if ticket not in self.open or (self.open[ticket] is None and self.fleet.is_excluded(ray_id)):
            return NO_WORK
        work = self.open[ticket] or (self._work_for(ticket, slot, ray_id) if self.fleet.is_ready(ray_id) else None)
        if isinstance(work, Pause):
            return NO_WORK
        return None if work is None else {"work": to_json(work), "place": self.fleet.place_of(ray_id)}

    def _work_for(self, ticket: str, slot: int, ray_id: str) -> Work | Pause | None:
        with self.held():
            work = self.coordinator.next_work(slot)
            if work is Pause.WAIT:
                return None
            if isinstance(work, Work):
                self.open[ticket], self.slot_of[ticket] = work, (slot, ray_id)
            else:
                self.finished = True
        return work

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        work = self.open.pop(trial_id, None)
        slot, ray_id = self.slot_of.pop(trial_id, (0, ""))
        if work is None:
            return
        try:
            with self.held():
                if result and "ended" in result:
                    self.coordinator.record(self.coordinator.lost_work(work, slot, "its outcome has gone"))
                elif result and "failed" in result:
                    self.fleet.failed(work, slot, result["failed"])
                else:
                    self.fleet.doubt(work, slot, ray_id)
        except Exception as failure:  # an exception in a hook would end Tune with a traceback of its own
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
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SearchError(f"Ray did not start{where}: {first}") from error
    return f"http://{context.dashboard_url}" if context.dashboard_url else ""


def gpus_of_cluster() -> int:
    """How many GPUs Ray counts on all nodes that are there."""
    return sum(int(node["Resources"].get("GPU", 0)) for node in ray.nodes() if node["Alive"])


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
            reuse_actors=True,
            max_concurrent_trials=tickets.fleet.most,
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
        gc.collect()  # Tune lets go of its actors when it is itself let go of
    if tickets.failed is not None:
        raise tickets.failed from None
