"""How a run is told its data, its seed and its budget."""

import sys
from pathlib import Path

import pytest

from search.core.task import Metric, Passing, Task
from search.trial.training import command_of


@pytest.mark.parametrize(
    ("seed", "seconds", "words", "variables"),
    [
        (Passing(flag="--seed"), Passing(flag="--time"), ["--seed", "7", "--time", "2.5"], {}),
        (Passing(variable="SEED"), Passing(flag="-t"), ["-t", "2.5"], {"SEED": "7"}),
        (Passing(constant="SEED", file="a.py"), Passing(), [], {}),
    ],
)
def test_by_a_flag_a_variable_or_not_at_all(seed, seconds, words, variables):
    task = Task("own", Metric("loss"), command=("{python}", "-u", "main.py"))
    numbers = [(seed, 7), (seconds, 2.5)]
    assert command_of(task, None, numbers) == ([sys.executable, "-u", "main.py", *words], variables)
    with_photos = [sys.executable, "-u", "main.py", "--dataset", "/view", *words]
    assert command_of(task, Path("/view"), numbers) == (with_photos, variables)
