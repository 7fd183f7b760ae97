"""A repository in which agents are asked for edits."""

import pytest

from tests.support.turns import Bench


@pytest.fixture
def bench(tmp_path, demo):
    return Bench(tmp_path, demo)
