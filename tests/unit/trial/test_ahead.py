"""What a slot imports ahead."""

import ast

from search.core.task import Metric, Task
from search.system.git import Repository
from search.trial.ahead import imported_by, modules_of
from tests.support.repositories import ROOT, git


def test_only_what_is_safe_and_in_the_order_in_which_it_is_imported(tmp_path):
    files = {
        "train.py": "import os, jax\nimport numpy as np\nfrom torch import nn\nimport helper\nfrom data.read import x\n"
        "def late():\n    import sklearn.svm\n",
        "helper.py": "try:\n    import scipy.stats\nexcept ImportError:\n    pass\ndef late():\n    import pandas\n",
        "data/read.py": "import typing\nif typing.TYPE_CHECKING:\n    import pandas\nelse:\n    import PIL\n",
        "main.py": "import train, (",
    }
    (tmp_path / "data").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "begin")
    repository = Repository(tmp_path)
    commit = repository.commit_of("HEAD")
    task = Task("own", Metric("loss"), command=("{python}", "main.py"))
    found = modules_of(repository, commit, task)
    assert set(found) == {
        "numpy", "torch", "torch._dynamo", "sklearn", "sklearn.svm", "scipy", "scipy.stats", "PIL", "PIL.Image",
    }  # fmt: skip
    assert found.index("torch") < found.index("torch._dynamo")
    other = modules_of(repository, commit, Task("other", Metric("loss"), edited="nowhere.py"))
    assert set(found) - set(other) == {"sklearn", "sklearn.svm"}  # what it does not edit imports late, if ever


def test_the_program_that_ships_has_its_libraries_imported():
    found = list(imported_by(ast.parse((ROOT / "train.py").read_text()), late=True))
    assert {"prepare", "torch", "torchvision"} <= set(found)
