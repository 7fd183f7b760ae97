"""Ray Tune's part: a Searcher that hands out empty tickets, and a Trainable that is a slot and asks for its work.

Tune alone decides which actor runs a ticket, and only the actor knows which GPU it has. So a ticket says nothing: the
slot that got it asks at the desk, and the driver, at every turn of Tune's loop, answers those that have asked.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.search import Searcher

from search.coordinator import Coordinator
from search.plan import Pause
from search.trial import SlotSetup, run_trial
from search.types import Experiment, Outcome, SearchError, Work, from_json, to_json
from search.worktree import clean_environment

CPUS_PER_TRIAL = 0.01  # a slot is a GPU; whole CPUs would leave slots idle on a small machine, silently
NO_WORK: dict[str, Any] = {}


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
class Desk:
    """Where slots wait for their work. It keeps nothing that matters: after a restart the slots ask again."""

    def __init__(self) -> None:
        self.waiting: dict[str, tuple[int, asyncio.Future[dict[str, Any]]]] = {}

    async def ask(self, ticket: str, slot: int) -> dict[str, Any]:
        """The work of a ticket, NO_WORK where the search is over; waits until the driver answers."""
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self.waiting[ticket] = (slot, answer)
        return await answer

    async def asking(self) -> dict[str, int]:
        """The tickets that wait, each with the slot that has it."""
        return {ticket: slot for ticket, (slot, _) in self.waiting.items()}

    async def answer(self, ticket: str, work: dict[str, Any]) -> None:
        if ticket in self.waiting:
            self.waiting.pop(ticket)[1].set_result(work)


class Slot(tune.Trainable):
    """The actor of one slot. It is reused for every trial of the slot; each trial is one step."""

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        return tune.PlacementGroupFactory([{"GPU": 1, "CPU": CPUS_PER_TRIAL}])

    def setup(self, config: dict[str, Any]) -> None:
        clean_environment()
        ids = [str(gpu) for gpu in ray.get_gpu_ids()]
        gpu = ids[0] if ids else "0"
        self.desk = config["desk"]
        self.slot_setup = SlotSetup(slot=config["slots"][gpu], gpu=gpu, **config["setup"])

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        return True

    def step(self) -> dict[str, Any]:
        answer = ray.get(self.desk.ask.remote(self.trial_id, self.slot_setup.slot))
        if answer == NO_WORK:
            return {"done": True}
        work = Work(**(answer | {"experiment": from_json(Experiment, answer["experiment"])}))
        return {"outcome": to_json(run_trial(self.slot_setup, work)), "done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing to save: what a trial leaves is its outcome file and its commit."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing to load."""

    def __repr__(self) -> str:
        setup = getattr(self, "slot_setup", None)
        return f"gpu{setup.slot} ({setup.tag})" if setup else "slot"


class RunEnded(BaseException):
    """Leaves Tune's loop at once, also while slots are busy: an Exception would wait for their trials to end."""


class Tickets(Searcher):
    """Hands out a ticket whenever Tune has a free slot, and tells the coordinator how each one ended."""

    def __init__(
        self,
        coordinator: Coordinator,
        setup: dict[str, Any],
        slots: dict[str, int],
        held: Callable[[], AbstractContextManager[None]] = nullcontext,
        beside: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(metric="done", mode="max")
        self.coordinator, self.count = coordinator, len(slots)
        self.desk = Desk.remote()  # type: ignore[attr-defined]
        self.config = {"setup": setup, "slots": slots, "desk": self.desk}
        self.open: dict[str, Work | None] = {}  # tickets handed out, with their work once they have some
        self.slot_of: dict[str, int] = {}
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
        return self.config

    def answer_all(self) -> None:
        """Answers every slot that waits, where there is work for it. Raises what the coordinator raises."""
        for ticket, slot in sorted(ray.get(self.desk.asking.remote()).items(), key=lambda item: item[1]):
            answer: dict[str, Any] = NO_WORK
            if ticket in self.open:
                work = self.open[ticket] or self._work_for(ticket, slot)
                if work is None:
                    continue
                answer = NO_WORK if isinstance(work, Pause) else to_json(work)
            ray.get(self.desk.answer.remote(ticket, answer))

    def _work_for(self, ticket: str, slot: int) -> Work | Pause | None:
        with self.held():
            work = self.coordinator.next_work(slot, self.count)
            if work is Pause.WAIT:
                return None
            if isinstance(work, Work):
                self.open[ticket], self.slot_of[ticket] = work, slot
            else:
                self.finished = True
        return work

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        work = self.open.pop(trial_id, None)
        slot = self.slot_of.pop(trial_id, 0)
        if work is None:
            return
        try:
            with self.held():
                if result and "outcome" in result:
                    outcome = from_json(Outcome, result["outcome"])
                else:
                    outcome = self.coordinator.lost_work(work, slot, "its slot's worker died")
                self.coordinator.record(outcome)
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
                self.tickets.answer_all()
                with self.tickets.held():
                    self.tickets.beside()
        except Exception as failure:
            self.tickets.failed = failure
        if self.tickets.failed is not None:
            raise RunEnded


def start_ray(slots: int, address: str | None, dashboard: bool) -> str:
    """Starts Ray on this machine with so many slots, or joins a cluster; the dashboard's address, or ''."""
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(slots)
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # launch handles signals, so that no record is cut in two
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = "1e9"  # nobody reads Tune's state, and it is written whole each time
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    root = str(Path(__file__).resolve().parent.parent)
    common: dict[str, Any] = {
        "log_to_driver": False,
        "logging_level": "error",
        "runtime_env": {"env_vars": {"PYTHONPATH": root}},
    }
    try:
        if address:
            context = ray.init(address=address, **common)
        else:
            cpus = max(os.cpu_count() or 1, slots)
            context = ray.init(
                address="local",  # whatever RAY_ADDRESS says
                num_gpus=slots,
                num_cpus=cpus,
                include_dashboard=dashboard,
                **common,
            )
    except (ConnectionError, RuntimeError, ValueError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SearchError(f"Ray did not start{f' at {address}' if address else ''}: {first}") from error
    return f"http://{context.dashboard_url}" if context.dashboard_url else ""


def stop_ray() -> None:
    """Ends the slots and the Ray that start_ray started; leaves a cluster that it joined running."""
    ray.shutdown()


def gpu_ids_of_ray(slots: int, gpus: list[str]) -> dict[str, int]:
    """GPU id, as Ray tells it to a worker -> slot number."""
    return {gpus[number] if gpus else str(number): number for number in range(slots)}


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
            max_concurrent_trials=tickets.count,
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
        assert tickets.failed is not None
        raise tickets.failed from None
    if tickets.failed is not None:
        raise tickets.failed
