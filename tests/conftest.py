"""Fixtures of all tests: real repositories, real data sets."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
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
USE_A_FIXED_PORT = {"test_machine_limits", "test_listening", "test_live"}  # that of Ray's dashboard


def pytest_configure(config: pytest.Config) -> None:
    """`make test` takes the same examples each time; `make test-all` looks for new ones."""
    hypothesis.settings.load_profile("sample" if config.option.markexpr else "all")


@pytest.fixture(autouse=True)
def port(request: pytest.FixtureRequest) -> Iterator[None]:
    """Tests that would meet at a port wait for each other, whichever process runs them."""
    if request.path.stem not in USE_A_FIXED_PORT:
        yield
        return
    with Path(tempfile.gettempdir(), f"autoresearch-tests-{os.getuid()}.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


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
