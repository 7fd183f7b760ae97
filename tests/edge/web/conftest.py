"""A made-up search, and pages that are served of any."""

import pytest

from tests.edge.web import made_up
from tests.edge.web.page_process import Served


@pytest.fixture
def serve():
    begun = []

    def start(runs, *arguments, **more):
        begun.append(Served(runs, *arguments, **more))
        return begun[-1]

    yield start
    for one in begun:
        one.process.kill()
        one.process.wait()


@pytest.fixture
def folder(tmp_path):
    return made_up.search(tmp_path, 40)
