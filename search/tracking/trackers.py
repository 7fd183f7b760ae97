"""Where runs are written to: Trackio, Weights & Biases and MLflow, each by its own package, which the user installs.

All write to this machine alone, unless the package's own variables say otherwise. A run is written whole, in place of
what an interrupted attempt has left of it.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from search.core.types import SearchError
from search.tracking.runs import TrackedRun

PACKAGES = {"trackio": "trackio", "wandb": "wandb", "mlflow": "mlflow-skinny"}  # what is imported: what is installed
LONGEST_TAG, LONGEST_PARAMETER = 4_000, 500  # characters that MLflow takes


class Tracker(Protocol):
    """where: for people, how to look at what was written."""

    where: str

    def write(self, run: TrackedRun) -> None:
        """Writes a run that is over."""

    def extend(self, run: TrackedRun, first: int) -> None:
        """Writes the steps of a run that goes on, from the first that is new; its summary, tags and files anew."""

    def close(self) -> None:
        """Ends it; all is on disk then."""


def check_installed(name: str) -> None:
    """Raises SearchError if a tracker's package is not there."""
    if importlib.util.find_spec(name) is None:
        raise SearchError(f"{name} is not installed; pip install {PACKAGES.get(name, name)}")


def tracker_of(name: str, tag: str, folder: Path) -> Tracker:
    """folder: for what is kept beside the search's own files. Raises SearchError if its package is not installed."""
    check_installed(name)
    kinds: dict[str, Callable[[str, Path], Tracker]] = {
        "trackio": Trackio,
        "wandb": WeightsAndBiases,
        "mlflow": MLflow,
    }
    return kinds[name](tag, folder)


class Trackio:
    """Runs of a project `autoresearch-TAG` in Trackio's own folder, or $TRACKIO_DIR."""

    def __init__(self, tag: str, folder: Path) -> None:
        self.project, self._has_begun = f"autoresearch-{tag}", False
        self.where = f"trackio show --project {self.project}"

    def write(self, run: TrackedRun) -> None:
        self._remove(run.key)
        self._log(run, 0, "never")

    def extend(self, run: TrackedRun, first: int) -> None:
        if not self._has_begun:  # an earlier process may have been killed between two of its steps
            self._remove(run.key)
            first, self._has_begun = 0, True
        self._log(run, first, "allow")

    def _log(self, run: TrackedRun, first: int, resume: str) -> None:
        import trackio

        begun = trackio.init(
            project=self.project,
            name=run.key,
            config={**run.config, **run.tags},
            resume=resume,
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        for number, step in enumerate(run.steps[first:], first):
            begun.log(dict(step.values), step=number)
        begun.log({f"final_{name}": value for name, value in run.summary.items()}, step=len(run.steps))
        for path in run.files:
            begun.log_artifact(path, name=path.name, overwrite=True)
        begun.finish()

    def _remove(self, key: str) -> None:
        from trackio import Api

        with suppress(ValueError):  # there is no such project yet
            for one in Api().runs(self.project):
                if one.name == key:
                    one.delete()

    def close(self) -> None:
        """Each run is finished as it is written."""


class WeightsAndBiases:
    """Runs of a project `autoresearch`, grouped by the search; offline unless $WANDB_MODE says otherwise."""

    def __init__(self, tag: str, folder: Path) -> None:
        os.environ.setdefault("WANDB_MODE", "offline")
        os.environ.setdefault("WANDB_SILENT", "true")
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        self.tag, self.folder = tag, Path(os.environ.get("WANDB_DIR", folder))
        self._going_on: Any = None
        self.where = f"wandb sync {self.folder}/wandb/offline-run-*-{tag}-*"

    def write(self, run: TrackedRun) -> None:
        begun = self._begin(run)
        self._log(begun, run, 0)
        begun.finish()

    def extend(self, run: TrackedRun, first: int) -> None:
        if self._going_on is None:  # steps that a service has already are passed over by it
            self._going_on, first = self._begin(run), 0
        self._log(self._going_on, run, first)

    def _begin(self, run: TrackedRun) -> Any:
        import wandb

        name = f"{self.tag}-{run.key}"
        for left in self.folder.glob(f"wandb/offline-run-*-{name}"):
            shutil.rmtree(left, ignore_errors=True)
        return wandb.init(
            project="autoresearch",
            id=name,
            name=name,
            group=self.tag,
            config=dict(run.config),
            dir=self.folder,
            resume="allow",
            reinit="create_new",
            settings=wandb.Settings(console="off", x_disable_stats=True, disable_git=True, save_code=False),
        )

    @staticmethod
    def _log(begun: Any, run: TrackedRun, first: int) -> None:
        for number, step in enumerate(run.steps[first:], first):
            begun.log(dict(step.values), step=number)
        begun.summary.update({**run.summary, **run.tags})
        for path in run.files:
            begun.save(path, base_path=path.parent, policy="now")

    def close(self) -> None:
        if self._going_on is not None:
            self._going_on.finish()


class MLflow:
    """Runs of an experiment `autoresearch TAG`, in an SQLite file beside the search, or at $MLFLOW_TRACKING_URI."""

    def __init__(self, tag: str, folder: Path) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow.tracking import MlflowClient

        own = f"sqlite:///{folder / 'mlflow.db'}"
        address = os.environ.get("MLFLOW_TRACKING_URI") or own
        self.client = MlflowClient(tracking_uri=address)
        name = f"autoresearch {tag}"
        known = self.client.get_experiment_by_name(name)
        place = (folder / "mlflow").as_uri() if address == own else None
        self.experiment = known.experiment_id if known else self.client.create_experiment(name, place)
        self.where = f"mlflow ui --backend-store-uri {address}"

    def write(self, run: TrackedRun) -> None:
        identity = self._identity(run)
        self._log(identity, run, 0)
        self.client.set_terminated(identity)

    def extend(self, run: TrackedRun, first: int) -> None:
        """A step that is logged again is the same row: its time is the decision's."""
        self._log(self._identity(run), run, first)

    def _identity(self, run: TrackedRun) -> str:
        """The run of this key, begun if there is none."""
        found = self.client.search_runs([self.experiment], f"tags.`autoresearch.key` = '{run.key}'", max_results=1)
        if found:
            return str(found[0].info.run_id)
        made = self.client.create_run(self.experiment, tags={"autoresearch.key": run.key}, run_name=run.key)
        return str(made.info.run_id)

    def _log(self, identity: str, run: TrackedRun, first: int) -> None:
        from mlflow.entities import Metric, Param, RunTag

        metrics = [
            Metric(name, value, int(step.at * 1000), number)
            for number, step in enumerate(run.steps[first:], first)
            for name, value in step.values.items()
        ]
        at = int(run.steps[-1].at * 1000) if run.steps else 0
        metrics += [Metric(f"final_{name}", value, at, len(run.steps)) for name, value in run.summary.items()]
        parameters = [Param(name, str(value)[:LONGEST_PARAMETER]) for name, value in run.config.items()]
        tags = [RunTag(name, value[:LONGEST_TAG]) for name, value in run.tags.items()]
        most = 500  # of a call, by MLflow's own limits
        for start in range(0, len(metrics), most):
            self.client.log_batch(identity, metrics=metrics[start : start + most])
        self.client.log_batch(identity, params=parameters[:100], tags=tags)
        for path in run.files:
            if path.is_dir():
                self.client.log_artifacts(identity, str(path), path.name)
            else:
                self.client.log_artifact(identity, str(path))

    def close(self) -> None:
        """Each call is written as it is made."""
