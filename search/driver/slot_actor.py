"""A slot: the actor that has one GPU, and the dispatcher at which it asks for its number and its work."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray import tune

from search.cluster.node import SearchFolder, node_folder
from search.cluster.remote_trial import run_remotely, setup_at
from search.core.codec import decode
from search.core.paths import temporary_folder
from search.core.types import SearchError, Work
from search.decide.early_stop import Yardstick
from search.driver.nodes import RemoteExchange
from search.system.git import clean_environment
from search.system.gpus import uuid_of
from search.system.guard import STARTED_BY
from search.system.process import usable_cores, watch_over_this_process
from search.trial.ahead import Ahead
from search.trial.run import run_trial
from search.trial.sealed import withheld
from search.trial.training import probe_cuda

CPUS_PER_TRIAL = 0.01  # a slot is a GPU; whole CPUs would leave slots idle on a small machine, silently
NEW = "slot "  # before what a slot is called at the dispatcher until it has a number
NOT_ISOLATED = "CUDA does not work in namespaces there: its trials share /dev/shm and the network with others"
NO_WORK: dict[str, Any] = {}
NOT_USED = -1
EXPECTED_SECONDS = 0.05  # from the end of a trial to the slot's asking for the next, it takes milliseconds


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
class Dispatcher:
    """Where slots wait for their number, and then for their work. It keeps nothing that matters: after a restart the
    slots ask again."""

    def __init__(self) -> None:
        self.waiting: dict[str, tuple[Any, asyncio.Future[Any]]] = {}
        self.asked = asyncio.Condition()

    async def _wait(self, who: str, about: Any) -> Any:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        async with self.asked:
            self.waiting[who] = (about, answer)
            self.asked.notify_all()
        return await answer

    async def number(self, placeholder: str, ray_id: str, gpu: str, fault: str, note: str) -> int:
        """The number of the slot of this GPU, NOT_USED if it is none; waits until the driver knows. fault: why the GPU
        cannot be used; '' if it can. note: what a person should know of the slot; '' for nothing."""
        return int(await self._wait(NEW + placeholder, (ray_id, gpu, fault, note)))

    async def ask(self, placeholder: str, slot: int, ray_id: str) -> dict[str, Any]:
        """The work of a placeholder, NO_WORK if there is none for this slot; waits until the driver answers."""
        return dict(await self._wait(placeholder, (slot, ray_id)))

    async def asking(self, expected: Sequence[str] = ()) -> dict[str, Any]:
        """Who waits, and what it has reported. expected: who is about to ask, and is waited for a moment."""
        with suppress(TimeoutError):
            async with asyncio.timeout(EXPECTED_SECONDS), self.asked:
                await self.asked.wait_for(lambda: self.waiting.keys() >= set(expected))
        return {who: about for who, (about, _) in self.waiting.items()}

    async def answer(self, who: str, answer: Any) -> None:
        if who in self.waiting:
            self.waiting.pop(who)[1].set_result(answer)


class SlotActor(tune.Trainable):
    """The actor of one slot. A placeholder trial is the slot's as long as it lives, and each trial is one step of it.

    A placeholder for each trial would let Tune hand a slot's to another one, and end the actor that is just starting
    for it: when many slots end trials, a node that joins would hardly ever get a slot up.
    """

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        elsewhere: dict[str, Any] = {}
        if config["excluded"]:
            elsewhere["bundle_label_selector"] = [{"ray.io/node-id": f"!in({','.join(config['excluded'])})"}]
        return tune.PlacementGroupFactory([{"GPU": 1, "CPU": CPUS_PER_TRIAL}], **elsewhere)

    def setup(self, config: dict[str, Any]) -> None:
        clean_environment()
        if STARTED_BY not in os.environ:  # on a cluster, whose workers the driver has not started
            self.watcher = watch_over_this_process()
        ids = [str(gpu) for gpu in ray.get_gpu_ids()]
        self.device = uuid_of(ids[0]) if ids else ""
        self.gpu = self.device or (ids[0] if ids else "0")
        self.ray_id = ray.get_runtime_context().get_node_id()
        self.tag, self.dispatcher = config["setup"].settings.tag, config["dispatcher"]
        self.exchange: Any = RemoteExchange(config["exchange"])  # the handle alone can be copied, as Tune does
        self.search, self.of_driver, self.ahead = config["search"], config["setup"], Ahead()
        fault = note = ""
        if self.device:
            setup = self.of_driver
            secret = withheld(setup.settings.task, "", setup.seal) if setup.confine else None
            folder = temporary_folder(Path(setup.run, self.device))
            fault, isolated = probe_cuda(self.device, folder, secret, setup.isolated)
            self.of_driver = replace(setup, isolated=isolated)
            note = NOT_ISOLATED if isolated != setup.isolated else ""
        wanted = self.dispatcher.number.remote(self.trial_id, self.ray_id, self.gpu, fault, note)
        self.number: int = ray.get(wanted)

    def step(self) -> dict[str, Any]:
        """One trial: `ended` if its outcome is on the driver's machine, `failed` if it did not begin or arrive."""
        if self.number == NOT_USED:
            return {"done": True}
        answer = ray.get(self.dispatcher.ask.remote(self.trial_id, self.number, self.ray_id))
        if answer == NO_WORK:
            return {"done": True}
        work, yardstick = decode(Work, answer["work"]), decode(Yardstick, answer["yardstick"])
        place = answer["place"]
        threads = max(usable_cores() // place["shares"], 1)
        setup = replace(self.of_driver, slot=self.number, gpu=self.device, threads=threads)
        if place["is_driver_node"]:
            run_trial(setup, work, self.ahead, yardstick)
            return {"done": False, "ended": True}
        try:
            there = setup_at(SearchFolder.of(node_folder(), self.search), setup, place["dataset"])
            run_remotely(there, work, self.exchange, self.ahead, yardstick)
        except (SearchError, OSError) as error:
            return {"done": False, "failed": f"{type(error).__name__}: {error}"}
        return {"done": False, "ended": True}

    def cleanup(self) -> None:
        self.ahead.close()

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing to save: what a trial leaves is its outcome file and its commit."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing to load."""

    def __repr__(self) -> str:
        return f"gpu{self.number} ({self.tag})" if getattr(self, "number", NOT_USED) != NOT_USED else "slot"
