import ast
import re
import sys
import tomllib

import pytest
from packaging.requirements import Requirement

from tests.conftest import ROOT

# What each module may import of this project; a new import is a decision, made here.
IMPORTS = {
    "types": set(),
    "recipe": {"types"},
    "space": {"types", "recipe"},
    "rules": {"types"},
    "guard": set(),
    "gpus": set(),
    "paths": set(),
    "process": set(),
    "worktree": {"types"},
    "ledger": {"types", "worktree"},
    "frontier": {"types", "ledger", "rules"},
    "state": {"types"},
    "sampler": {"space", "types"},
    "propose": {"sampler", "space", "types"},
    "plan": {"space", "state", "types"},
    "scoring": {"types", "prepare"},
    "demo_photos": {"prepare"},
}


@pytest.mark.parametrize("module", sorted(IMPORTS))
def test_modules_import_no_more_of_the_project_than_they_may(module):
    tree = ast.parse((ROOT / "search" / f"{module}.py").read_text())
    named = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    named |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    own = {name.removeprefix("search.") for name in named if name.startswith("search.") or name == "prepare"}
    assert own <= IMPORTS[module]


def test_guard_and_types_need_the_standard_library_only():
    for module in ("guard", "types"):
        tree = ast.parse((ROOT / "search" / f"{module}.py").read_text())
        named = {alias.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names}
        named |= {n.module.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module}
        assert named <= sys.stdlib_module_names


def test_pins_lie_in_the_ranges():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    ranges = {r.name: r.specifier for r in map(Requirement, project["dependencies"])}
    dev = {r.name: r.specifier for r in map(Requirement, project["optional-dependencies"]["dev"])}
    for file, allowed in (("requirements.txt", ranges), ("requirements-dev.txt", dev)):
        lines = [line for line in (ROOT / file).read_text().splitlines() if line and not re.match(r"#|-r", line)]
        pins = {r.name: str(r.specifier).removeprefix("==") for r in map(Requirement, lines)}
        assert set(pins) == set(allowed)
        for name, version in pins.items():
            assert version in allowed[name], name
