"""Ray Tune's part: a Searcher of placeholder trials, one for each slot, whose actors ask for their work.

Tune alone decides which actor runs a placeholder trial, and only the actor knows which GPU it has. So a placeholder
trial says nothing: the slot that got it asks the dispatcher, and the driver, at every turn of Tune's loop, answers
those that have asked.
"""

from __future__ import annotations

import gc
import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.search import Searcher

from search.core.codec import encode
from search.core.types import SearchError, TrialKey, Work
from search.decide.early_stop import yardstick_of
from search.decide.plan import Pause
from search.driver.coordinator import Coordinator
from search.driver.fleet import Fleet
from search.driver.nodes import pinned_to
from search.driver.slot_actor import NEW, NO_WORK, NOT_USED, Dispatcher, SlotActor
from search.trial.sealed import id_of

VIEW_SECONDS = 0.5  # between two views of the state


class RunEnded(BaseException):
    """Leaves Tune's loop at once, also while slots are busy: an Exception would wait for their trials to end."""


class PlaceholderTrials(Searcher):
    """Hands out a placeholder trial for every slot that there may be, and records how each of their trials ended.

    open: those handed out, with the trial that each runs; what becomes of that is the state's to know. slots: of one
    that has come up, its slot and Ray's id of the node.
    """

    def __init__(
        self,
        coordinator: Coordinator,
        fleet: Fleet,
        held: Callable[[], AbstractContextManager[None]] = nullcontext,
        beside: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(metric="done", mode="max")
        self.coordinator, self.fleet = coordinator, fleet
        pinned = pinned_to(fleet.driver_node)
        self.dispatcher = Dispatcher.options(scheduling_strategy=pinned).remote()  # type: ignore[attr-defined]
        self.search, self.tag = id_of(coordinator.settings), coordinator.names.tag
        self.open: dict[str, TrialKey | None] = {}
        self.slots: dict[str, tuple[int, str]] = {}
        self.unwanted: set[str] = set()  # on GPUs that the search has no use for, and holds all the same
        self.held = held  # while within, signals wait
        self.beside = beside  # what else the driver does at every turn of Tune's loop
        self._about_to_ask: set[str] = set()  # their trials have just ended, and Tune's loop will wait once it turns
        self._viewed = 0.0
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
            "dispatcher": self.dispatcher,
            "exchange": self.fleet.exchange.handle if self.fleet.joined else None,
            "excluded": self.fleet.excluded,
        }

    def turn(self) -> None:
        """What the driver does at every turn of Tune's loop. Raises what the coordinator raises."""
        with self.held():
            self.fleet.poll()
        self.answer_all()
        with self.held():
            self.beside()
            if time.monotonic() - self._viewed > VIEW_SECONDS:
                self._viewed = time.monotonic()
                self.coordinator.refresh_view()

    def answer_all(self) -> None:
        """Answers every slot that waits, if there is something for it."""
        asking: dict[str, Any] = ray.get(self.dispatcher.asking.remote(sorted(self._about_to_ask)))
        self._about_to_ask.clear()
        for who, about in asking.items():
            if who.startswith(NEW):
                number = self._number_for(who.removeprefix(NEW), *about)
                if number is not None:
                    ray.get(self.dispatcher.answer.remote(who, number))
        waiting = {who: about for who, about in asking.items() if not who.startswith(NEW)}
        for placeholder, (slot, ray_id) in sorted(waiting.items(), key=lambda item: item[1]):
            answer = self._answer_for(placeholder, slot, ray_id)
            if answer is not None:
                ray.get(self.dispatcher.answer.remote(placeholder, answer))

    def _number_for(self, placeholder: str, ray_id: str, gpu: str, fault: str, note: str) -> int | None:
        """None: it must wait."""
        if placeholder not in self.open or self.fleet.is_excluded(ray_id):
            return NOT_USED
        if fault:
            self.unwanted.add(placeholder)
            return None if self.fleet.waits_aside(ray_id, gpu, fault) else NOT_USED
        if not self.fleet.is_wanted(ray_id, gpu):
            self.unwanted.add(placeholder)
            return None
        with self.held():
            number = self.fleet.slot_of(ray_id, gpu)
        if number is not None:
            self.slots[placeholder] = (number, ray_id)
            if note:
                self.coordinator.announce(f"gpu{number}    {note}")
        return number

    def _answer_for(self, placeholder: str, slot: int, ray_id: str) -> dict[str, Any] | None:
        """None: it must wait."""
        place, runs = self.fleet.place_of(ray_id), self._run_by(placeholder)
        if placeholder not in self.open or place is None or (runs is None and self.fleet.is_excluded(ray_id)):
            return NO_WORK
        work = runs or (self._work_for(placeholder, slot) if self.fleet.is_ready(ray_id) else None)
        if isinstance(work, Pause):
            return NO_WORK
        if work is None:
            return None
        yardstick = yardstick_of(self.coordinator.state, work, slot)
        return {"work": encode(work), "place": place, "yardstick": encode(yardstick)}

    def _run_by(self, placeholder: str) -> Work | None:
        """What a placeholder trial's slot runs now."""
        key = self.open.get(placeholder)
        running = self.coordinator.state.in_flight.get(key) if key else None
        return running.work if running else None

    def _work_for(self, placeholder: str, slot: int) -> Work | Pause | None:
        with self.held():
            work = self.coordinator.next_work(slot)
            if work is Pause.WAIT:
                return None
            if isinstance(work, Work):
                self.open[placeholder] = work.key
            else:
                self.finished = True
        return work

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """A trial of a slot has come to its end."""
        slot, ray_id = self.slots.get(trial_id, (NOT_USED, ""))
        work = self._run_by(trial_id)
        if trial_id not in self.open or work is None:
            return
        self.open[trial_id] = None
        self._about_to_ask.add(trial_id)
        try:
            with self.held():
                if "failed" in result:
                    self.fleet.failed(work, slot, ray_id, result["failed"])
                    return
                self.fleet.ended_well(ray_id)
                if not self.coordinator.collect(work, slot):
                    self.coordinator.record_crash(work, slot, "its outcome has gone")
        except Exception as failure:  # an exception in a hook would end Tune with a traceback of its own
            self.failed = self.failed or failure

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A slot has come to its end."""
        work = self._run_by(trial_id)
        self.open.pop(trial_id, None)
        self.unwanted.discard(trial_id)
        slot, ray_id = self.slots.pop(trial_id, (NOT_USED, ""))
        if slot == NOT_USED or self.finished:
            return
        try:
            with self.held():
                if slot not in {number for number, _ in self.slots.values()}:  # its node is not back already
                    self.coordinator.leave(slot, "its worker has gone" if error else "its node is not used any more")
                if work is not None:
                    self.fleet.lost_trials.suspect(work, slot, ray_id)
        except Exception as failure:  # as above
            self.failed = self.failed or failure

    def save(self, checkpoint_path: str) -> None:
        """State comes from the journal, never from Tune's files."""

    def restore(self, checkpoint_path: str) -> None:
        """See save."""


class EveryTurn(tune.Callback):
    """Answers the slots at every turn of Tune's loop, about ten times a second, and ends the run when it must."""

    def __init__(self, placeholders: PlaceholderTrials) -> None:
        self.placeholders = placeholders

    def __getstate__(self) -> dict[str, Any]:
        """As for PlaceholderTrials."""
        return {}

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        searcher = self.placeholders
        try:
            if searcher.failed is None:
                searcher.turn()
        except ray.exceptions.RayError as failure:
            words = " ".join(str(failure).split())
            searcher.failed = SearchError(f"Ray failed: {words}; begin again with --resume {searcher.tag}")
        except Exception as failure:
            searcher.failed = failure
        if searcher.failed is not None or searcher.finished:
            raise RunEnded


def end_slots() -> None:
    """Ends the slots' actors at once; trials end with them, and say nothing. Call it when run_search has returned."""
    gc.collect()  # Tune holds its actors, and lets go of them when it is itself let go of


def run_search(placeholders: PlaceholderTrials, storage: Path) -> None:
    """Runs the whole search as one Tune run. Raises the error that ended it, if one did.

    storage: where Tune puts files that nobody needs; those of an earlier session are removed.
    """
    shutil.rmtree(storage, ignore_errors=True)
    storage.mkdir(parents=True)
    tuner = tune.Tuner(
        SlotActor,
        tune_config=tune.TuneConfig(
            search_alg=placeholders,
            num_samples=-1,
            reuse_actors=False,  # a placeholder trial is its slot's for life
            metric="done",
            mode="max",
            trial_dirname_creator=lambda trial: str(trial.trial_id),
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(storage),
            verbose=0,
            callbacks=[EveryTurn(placeholders)],
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
        ),
    )
    try:
        tuner.fit()
    except RunEnded:
        pass
    except (ray.exceptions.RayError, tune.TuneError) as error:
        raise SearchError(f"Ray failed: {' '.join(str(error).split())[:500]}") from error
    if placeholders.failed is not None:
        raise placeholders.failed from None
