"""Ray Tune's part: a Searcher that hands out the coordinator's work, and a Trainable that runs it in a slot."""

from __future__ import annotations

import os
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


class Slot(tune.Trainable):
    """The actor of one slot. It is reused for every trial of the slot; each trial is one step."""

    def setup(self, config: dict[str, Any]) -> None:
        clean_environment()
        ids = [str(gpu) for gpu in ray.get_gpu_ids()]
        gpu = ids[0] if ids else "0"
        self.slot_setup = SlotSetup(slot=config["slots"][gpu], gpu=gpu, **config["setup"])
        self.take(config)

    def take(self, config: dict[str, Any]) -> None:
        work = dict(config["work"])
        self.work = Work(**(work | {"experiment": from_json(Experiment, work["experiment"])}))

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.take(new_config)
        return True

    def step(self) -> dict[str, Any]:
        outcome = run_trial(self.slot_setup, self.work)
        return {"outcome": to_json(outcome), "done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing to save: what a trial leaves is its outcome file and its commit."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing to load."""

    def __repr__(self) -> str:
        setup = getattr(self, "slot_setup", None)
        return f"gpu{setup.slot} ({setup.tag})" if setup else "slot"


class WorkSearcher(Searcher):
    """Asks the coordinator for work whenever a slot is free; keeps the error that ended the search in `failed`."""

    def __init__(
        self,
        coordinator: Coordinator,
        setup: dict[str, Any],
        slots: dict[str, int],
        held: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        super().__init__(metric="done", mode="max")
        self.coordinator, self.shared = coordinator, {"setup": setup, "slots": slots}
        self.handed_out: dict[str, Work] = {}
        self.held = held  # while within, signals wait
        self.failed: BaseException | None = None

    def suggest(self, trial_id: str) -> Any:
        if self.failed is not None:
            return Searcher.FINISHED
        try:
            with self.held():
                work = self.coordinator.next_work()
        except Exception as error:  # an exception in a hook would end Tune with a traceback of its own
            self._fail(error)
            return Searcher.FINISHED
        if work is Pause.FINISHED:
            return Searcher.FINISHED
        if isinstance(work, Pause):
            return None
        self.handed_out[trial_id] = work
        return {**self.shared, "work": to_json(work)}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        work = self.handed_out.pop(trial_id, None)
        if work is None:
            return
        try:
            if result and "outcome" in result:
                outcome = from_json(Outcome, result["outcome"])
            else:
                slot = next(
                    (s.number for s in self.coordinator.paths.slots() if s.trial(work.trial_id).root.exists()), 0
                )
                outcome = self.coordinator.lost_work(work, slot, "its slot's worker died")
            with self.held():
                self.coordinator.record(outcome)
        except Exception as failure:
            self._fail(failure)

    def _fail(self, error: BaseException) -> None:
        self.failed = self.failed or error

    def save(self, checkpoint_path: str) -> None:
        """State comes from the journal, never from Tune's files."""

    def restore(self, checkpoint_path: str) -> None:
        """See save."""


class StopOnFailure(tune.Stopper):
    """Ends the Tune run as soon as the searcher has failed."""

    def __init__(self, searcher: WorkSearcher) -> None:
        self.searcher = searcher

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.searcher.failed is not None


def start_ray(slots: int, address: str | None, dashboard: bool) -> str:
    """Starts Ray on this machine with so many slots, or joins a cluster; the dashboard's address, or ''."""
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(slots)
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # launch handles signals, so that no record is cut in two
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
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
            context = ray.init(num_gpus=slots, num_cpus=cpus, include_dashboard=dashboard, **common)
    except (ConnectionError, RuntimeError, ValueError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SearchError(f"Ray did not start{f' at {address}' if address else ''}: {first}") from error
    return f"http://{context.dashboard_url}" if context.dashboard_url else ""


def gpu_ids_of_ray(slots: int, gpus: list[str]) -> dict[str, int]:
    """GPU id, as Ray tells it to a worker -> slot number."""
    return {gpus[number] if gpus else str(number): number for number in range(slots)}


def run_search(searcher: WorkSearcher, slots: int, storage: Path) -> None:
    """Runs the whole search as one Tune run. Raises the error that ended it, if one did."""
    storage.mkdir(parents=True, exist_ok=True)
    tuner = tune.Tuner(
        tune.with_resources(Slot, {"gpu": 1, "cpu": CPUS_PER_TRIAL}),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            num_samples=-1,
            reuse_actors=True,
            max_concurrent_trials=slots,
            metric="done",
            mode="max",
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(storage),
            verbose=0,
            stop=StopOnFailure(searcher),
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
        ),
    )
    tuner.fit()
    if searcher.failed is not None:
        raise searcher.failed
