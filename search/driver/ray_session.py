"""Starting Ray on this machine, or joining the cluster that it is a node of."""

from __future__ import annotations

import logging
import os
import resource
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray

from search.core.paths import PROJECT
from search.core.types import SearchError, UsageError
from search.system.process import usable_cores

LEAST_FILES = 256  # that a process must be able to have open; Ray's hang with fewer, without a word
MOST_PENDING = 32  # tickets that wait for a GPU: what a cluster that grows is asked for at once
REACH_SECONDS = 10.0
SHUTDOWN_SECONDS = 20.0
HEAD_LOOK_SECONDS = 1.0
HEAD_GONE_SECONDS = 5.0


def set_up_ray(slots: int) -> dict[str, Any]:
    """Settings of Ray and Tune that hold for every search; what ray.init is given."""
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(slots)
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # launch handles signals, so that no record is cut in two
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = "1e9"  # nobody reads Tune's state, and it is written whole each time
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # it would show a traceback for each worker that dies
    return {"log_to_driver": False, "logging_level": "error"}


def start_ray(slots: int, dashboard: bool) -> str:
    """Starts Ray on this machine with so many slots; the dashboard's address, or ''. Raises SearchError."""
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files != resource.RLIM_INFINITY and files < LEAST_FILES:
        raise SearchError(
            f"Ray did not start: a process may have {files} files open here, and Ray needs {LEAST_FILES} at the least; "
            "raise the limit (ulimit -Hn, or LimitNOFILE of a service)"
        )
    root = str(PROJECT)
    return _init_ray(
        "",
        **set_up_ray(slots),
        address="local",  # whatever RAY_ADDRESS says
        num_gpus=slots,
        num_cpus=max(usable_cores(), slots),
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
    code = [str(path) for path in (PROJECT / "search", PROJECT / "prepare.py") if path.exists()]
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


class HeadWatch:
    """Looks, in a thread of its own, whether the head of the Ray that start_ray started still answers.

    Once it has died, nothing brings it back, and many calls of Ray's and Tune's wait a minute for it, in C++, where no
    signal ends them. give_up: called from the thread when it has not answered for HEAD_GONE_SECONDS; it ends this
    process.
    """

    def __init__(self, give_up: Callable[[], None]) -> None:
        host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
        self._address, self._give_up, self._ended = (host, int(port)), give_up, threading.Event()
        threading.Thread(target=self._look, name="head watch", daemon=True).start()

    def answers(self) -> bool:
        try:
            socket.create_connection(self._address, HEAD_GONE_SECONDS).close()
        except OSError:
            return False
        return True

    def stop(self) -> None:
        """Nobody gives up from here on."""
        self._ended.set()

    def _look(self) -> None:
        answered = time.monotonic()
        while not self._ended.wait(HEAD_LOOK_SECONDS):
            if self.answers():
                answered = time.monotonic()
            elif time.monotonic() - answered > HEAD_GONE_SECONDS and not self._ended.is_set():
                self._give_up()
                return


def stop_ray(patience: float = SHUTDOWN_SECONDS) -> None:
    """Ends the slots and the Ray that start_ray started; leaves a cluster that it joined running.

    Where a cluster's head has died Ray waits a minute for it: it is waited for so many seconds at most, and what is
    left ends with this process.
    """
    ending = threading.Thread(target=ray.shutdown, daemon=True)
    ending.start()
    ending.join(patience)
