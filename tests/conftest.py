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
USE_A_FIXED_PORT = {"test_machine_limits", "test_listening", "test_live"}  # that of Ray's dashboard


def pytest_configure(config: pytest.Config) -> None:
    """`make test` takes the same examples each time; `make test-all` looks for new ones."""
    hypothesis.settings.load_profile("sample" if config.option.markexpr else "all")


@pytest.hookimpl(tryfirst=True)  # before that of xdist, which reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of one file run in one process, which makes once what they share; also those that would meet at a port."""
    for item in items:
        group = "port" if item.path.stem in USE_A_FIXED_PORT else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))


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
