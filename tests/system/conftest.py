"""Fixtures of tests of the whole product: a search that is over, whose model can be taken home."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from search.core.types import Settings
from search.decide.plan import Limit
from search.trial import sealed
from search.trial.rewrite import rewrite_recipe
from tests.support.repositories import ROOT, make_repository
from tests.support.searches import coordinator_of, run_all, settings_of, setup_of


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, demo: Path) -> tuple[Path, Settings]:
    """A repository with a search `t` of one experiment, verified by a fresh seed; its settings."""
    source = rewrite_recipe((ROOT / "train.py").read_text(), {"arch": "lite", "batch_size": 8})
    repository = make_repository(tmp_path_factory.mktemp("searched") / "project", source)
    seal = str(sealed.folder_of(settings_of(repository, demo)))
    setup = replace(setup_of(repository, demo, seconds=2.0), seal=seal)
    with coordinator_of(repository, demo, limit=1) as coordinator:
        run_all(coordinator, setup)
        coordinator.limit = Limit(verify=1)
        run_all(coordinator, setup)
        return repository, coordinator.settings
