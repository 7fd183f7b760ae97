"""Fixtures of all tests: real repositories, real data sets."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest

from tests.support.repositories import FAST_TRAIN, make_repository

# Machines here are shared: how long an example took says nothing.
hypothesis.settings.register_profile("shared", deadline=None)
hypothesis.settings.load_profile("shared")


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
