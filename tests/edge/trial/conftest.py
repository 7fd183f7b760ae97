"""A search that somebody wants to deceive."""

import numpy as np
import pytest

from tests.support.dishonest import Places, run_edit
from tests.support.repositories import FAST_TRAIN, make_repository


@pytest.fixture
def places(tmp_path, demo):
    make_repository(tmp_path / "project", FAST_TRAIN)
    places = Places(tmp_path / "project", demo)
    for folder in (places.run / "gpu1/tree", places.seal):
        folder.mkdir(parents=True)
    (places.run / "results.tsv").write_text("rows\n")
    (places.run / "gpu1/tree/train.py").write_text("honest\n")
    np.savez(places.seal / "e0000-s0.npz", test=np.zeros(1))
    return places


@pytest.fixture
def honest(tmp_path, demo, places):
    outcome, _ = run_edit(tmp_path, demo, None, number=99)
    assert outcome.score is not None and outcome.violations == ()
    return outcome.score
