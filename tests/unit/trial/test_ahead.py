"""What a slot imports ahead."""

from search.core.task import Metric, Task
from search.system.git import Repository
from search.task.declaration import load_task
from search.trial.ahead import modules_of
from tests.support.repositories import ROOT, git, make_repository


def test_only_what_is_safe_and_what_the_programs_own_modules_import_too(tmp_path):
    files = {
        "train.py": "import os, jax\nimport numpy as np\nfrom torch import nn\nimport helper\nfrom data import read\n",
        "helper.py": "try:\n    import scipy.stats\nexcept ImportError: pass\ndef late():\n    import sklearn.svm\n",
        "data/read.py": "import PIL\nfrom . import pandas\n",
        "other.py": "import torchvision\n",
        "main.py": "import train, (",
    }
    (tmp_path / "data").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "begin")
    repository = Repository(tmp_path)
    task = Task("own", Metric("loss"), command=("{python}", "main.py"))
    found = modules_of(repository, repository.commit_of("HEAD"), task)
    assert set(found) == {
        "numpy", "torch", "torch._dynamo", "sklearn", "sklearn.svm", "scipy", "scipy.stats", "PIL", "PIL.Image",
    }  # fmt: skip
    assert found.index("torch") < found.index("torch._dynamo")
    other = Task("other", Metric("loss"), edited="other.py", command=("{python}", "nowhere.py"))
    assert modules_of(repository, repository.commit_of("HEAD"), other) == ["torchvision"]


def test_the_program_that_ships_has_its_libraries_imported(tmp_path):
    repository = Repository(make_repository(tmp_path / "repository"))
    found = modules_of(repository, repository.commit_of("HEAD"), load_task(ROOT / "task.toml"))
    assert {"numpy", "torch", "torch._dynamo", "torchvision", "PIL.Image"} <= set(found)
