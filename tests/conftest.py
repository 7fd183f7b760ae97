"""Fixtures of all tests: real repositories, real data sets."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest

from tests.support.repositories import FAST_TRAIN, make_repository

# Machines here are shared: how long an example took says nothing.
hypothesis.settings.register_profile("all", deadline=None)
hypothesis.settings.register_profile("sample", deadline=None, derandomize=True)
if "PYTEST_XDIST_WORKER_COUNT" in os.environ:  # torch's threads wait by spinning: more of them than cores stand still
    share = len(os.sched_getaffinity(0)) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ["OMP_NUM_THREADS"] = str(max(share, 1))
TOGETHER = {
    "a port": {"test_machine_limits", "test_listening", "test_live"},  # that of Ray's dashboard
    "clusters": {"test_nodes", "test_bench"},  # two of them at once are more than two cores can do in time
}


def pytest_configure(config: pytest.Config) -> None:
    """`make test` takes the same examples each time; `make test-all` looks for new ones."""
    hypothesis.settings.load_profile("sample" if config.option.markexpr else "all")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Tests of one file run in one process, which makes once what they share; and so do files that would be in each
    other's way."""
    from xdist.scheduler import LoadFileScheduling

    class Together(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return next((name for name, stems in TOGETHER.items() if Path(file).stem in stems), file)

    return Together(config, log)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Decoded caches of the tests go to a folder of their own."""
    os.environ["AUTORESEARCH_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    os.environ["AUTORESEARCH_STATE"] = str(tmp_path_factory.mktemp("state"))


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory, cache: None) -> Path:
    """A synthetic data set of 300 photos."""
    from search.task.screening.demo_images import draw

    folder = tmp_path_factory.mktemp("demo") / "dataset"
    draw(folder, 300)
    return folder


@pytest.fixture
def fast_repository(tmp_path: Path) -> Path:
    """The project with a train.py that takes a second."""
    return make_repository(tmp_path / "project", FAST_TRAIN)
