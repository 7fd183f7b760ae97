"""Fixtures of tests of the whole product: a search that is over, whose model can be taken home."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from search.core.types import Settings
from search.decide.plan import Limit
from search.driver.coordinator import Coordinator
from search.system.git import Repository
from search.trial import sealed
from search.trial.rewrite import rewrite_recipe
from tests.support.repositories import ROOT, make_repository
from tests.support.searches import run_all, settings_of, setup_of


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, demo: Path) -> tuple[Path, Settings]:
    """A repository with a search `t` of one experiment, verified by a fresh seed; its settings."""
    source = rewrite_recipe((ROOT / "train.py").read_text(), {"arch": "lite", "batch_size": 8})
    repository = make_repository(tmp_path_factory.mktemp("searched") / "project", source)
    space = (ROOT / "spaces/default.toml").read_text()
    settings = replace(settings_of(repository, demo, seconds=2.0), space=space, space_name="default.toml")
    setup = replace(setup_of(repository, demo), settings=settings, seal=str(sealed.folder_of(settings)))
    coordinator = Coordinator(Repository(repository), "t", lambda line: None)
    try:
        coordinator.begin(settings)
        coordinator.enrol(0, "here", "0")
        for limit in (Limit(1), Limit(verify=1)):
            coordinator.limit = limit
            run_all(coordinator, setup)
        return repository, coordinator.settings
    finally:
        coordinator.close()
