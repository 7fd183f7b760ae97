"""What lies between two machines, without Ray."""

import pytest

from search.cluster.exchange import ArtifactExchange, Shared
from tests.support.searches import setup_of


@pytest.fixture
def home(fast_repository, demo):
    """The driver's machine: its repository, a slot's setup there, and its exchange."""
    setup = setup_of(fast_repository, demo)
    shared = Shared(setup.repository, setup.run, "t", setup.settings.base, setup.seal, setup.dataset)
    return setup, ArtifactExchange(shared)
