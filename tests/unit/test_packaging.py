import ast
import re
import sys
import tomllib

import pytest
from packaging.requirements import Requirement

from tests.support.repositories import ROOT

# What each module may import of this project, and the library that it alone (or with those named) may touch: a new
# import is a decision, made here.
IMPORTS = {
    # pure
    "types": set(),
    "recipe": {"types", "libcst"},
    "space": {"types", "recipe"},
    "rules": {"types"},
    "state": {"types"},
    "race": {"numpy"},
    "screening": {"prepare", "numpy"},
    "decide": {"contest", "race", "rules", "screening", "speed", "state", "types"},
    "footer": {"process"},
    "contest": {"race", "screening", "state", "types"},
    "axes": {"recipe", "space", "types"},
    "transfer": {"space", "types"},
    "commits": {"axes", "recipe", "space", "types"},
    "plan": {"commits", "contest", "race", "recipe", "space", "state", "types"},
    "frontier": {"types", "ledger", "rules"},
    "sampler": {"space", "transfer", "types", "numpy", "optuna"},
    "costs": set(),
    # edges
    "paths": set(),
    "gpus": set(),
    "guard": set(),
    "confine": set(),
    "sandbox": {"confine"},
    "pinned": {"worktree"},
    "sealed": {"paths", "types", "numpy"},
    "speed": set(),
    "process": set(),
    "signals": set(),
    "worktree": {"types", "git"},
    "tags": {"paths", "state", "types", "worktree"},
    "ledger": {"types", "worktree"},
    "runfiles": {"contest", "ledger", "paths", "state", "types"},
    "history": {"costs", "evidence", "ledger", "paths", "recipe", "types", "worktree"},
    "evidence": {"ledger", "numpy"},
    "summary": {"costs", "evidence", "frontier", "history", "ledger", "types", "matplotlib"},
    "study": {"sampler", "space", "transfer", "types", "optuna"},
    "studies": {"commits", "space", "state", "study", "transfer", "types"},
    "scoring": {"types", "prepare"},
    "scorer": {"scoring", "types", "prepare", "numpy"},
    "demo_photos": {"prepare", "numpy", "PIL"},
    "training": {"footer", "prepare", "process", "sandbox", "scorer", "speed"},
    "trial": {
        "footer", "paths", "pinned", "prepare", "process", "recipe", "scorer", "scoring", "screening", "sealed",
        "speed", "training", "types", "worktree", "numpy",
    },
    "coordinator": {
        "commits", "contest", "decide", "footer", "paths", "plan", "runfiles", "speed", "state", "studies", "tags",
        "trial", "types", "worktree",
    },
    "slots": {"cluster.away", "cluster.members", "cluster.node", "trial", "types", "worktree", "ray"},
    "connection": {"types", "ray"},
    "engine": {"cluster.fleet", "cluster.members", "coordinator", "plan", "sealed", "slots", "types", "ray"},
    "status": {"command", "verbs", "rich"},
    "report": {
        "coordinator", "frontier", "history", "snapshot", "state", "status", "summary", "types", "ray", "rich",
    },
    "audit": {
        "contest", "coordinator", "evidence", "prepare", "scorer", "screening", "sealed", "setup", "state", "tags",
        "types", "worktree", "numpy",
    },
    # more than one machine
    "cluster.versions": set(),
    "cluster.photos": {"cluster.exchange", "prepare", "types"},
    "cluster.packs": {"worktree"},
    "cluster.members": {"cluster.node_manager", "ray"},
    "cluster.notice": set(),
    "cluster.node": {"gpus", "paths"},
    "cluster.node_manager": {
        "cluster.away", "cluster.exchange", "cluster.node", "cluster.notice", "cluster.photos", "cluster.versions",
        "process", "sandbox", "trial", "worktree",
    },
    "cluster.fleet": {
        "cluster.exchange", "cluster.node_manager", "cluster.members", "cluster.node", "cluster.versions", "coordinator",
        "gpus", "sealed", "trial", "types", "ray",
    },
    "cluster.exchange": {"cluster.packs", "paths", "prepare", "sealed", "trial", "types", "worktree", "numpy"},
    "cluster.away": {
        "cluster.exchange", "cluster.node", "cluster.packs", "paths", "sealed", "trial", "types", "worktree",
    },
    # the command
    "arguments": {"agent.agents", "agent.presets", "gpus", "plan", "prepare", "race", "types"},
    "setup": {
        "agent.smoke", "arguments", "gpus", "prepare", "recipe", "scoring", "sealed", "space", "tags", "trial",
        "types", "worktree",
    },
    "launch": {
        "agent.proposals", "arguments", "cluster.fleet", "connection", "coordinator", "engine", "process", "report",
        "sandbox", "setup", "signals", "trial", "types", "worktree",
    },
    # outside agents
    "snapshot": {"paths", "state", "types", "worktree"},
    "command": {"types", "worktree"},
    "mcp": {"requests", "types", "verbs", "worktree", "mcp", "pydantic"},
    "pause": {"command", "requests", "verbs"},
    "propose": {"command", "types", "verbs"},
    "requests": {"paths", "worktree"},
    "resume": {"command", "requests", "verbs"},
    "show": {"command", "verbs"},
    "stop": {"command", "requests", "verbs"},
    "verbs": {"agent.vetting", "paths", "recipe", "requests", "snapshot", "state", "tags", "types", "worktree"},
    # the agent's turn
    "agent.agents": {"costs"},
    "agent.brief": {"state", "types"},
    "agent.builtin": {"agent.catalogue", "agent.network_edits", "agent.training_edits", "recipe", "types"},
    "agent.catalogue": {"agent.surgery", "types", "libcst"},
    "agent.handed_in": {"agent.agents", "agent.turn", "agent.vetting", "pinned", "types"},
    "agent.network_edits": {"agent.catalogue", "agent.surgery", "libcst"},
    "agent.presets": {"agent.agents", "costs", "types"},
    "agent.smoke": {"footer", "prepare", "process", "scorer", "training", "worktree", "numpy"},
    "agent.surgery": {"libcst"},
    "agent.training_edits": {"agent.catalogue", "agent.surgery", "libcst"},
    "agent.turn": {
        "agent.agents", "agent.builtin", "agent.smoke", "agent.vetting", "costs", "pinned", "process", "recipe",
        "sandbox", "types", "worktree",
    },
    "agent.vetting": {"axes", "recipe", "space", "types"},
    "agent.proposals": {
        "agent.agents", "agent.brief", "agent.builtin", "agent.handed_in", "agent.smoke", "agent.turn",
        "agent.vetting", "coordinator", "frontier", "plan", "process", "requests", "types", "worktree",
    },
}  # fmt: skip
LIBRARIES = {
    "git", "libcst", "matplotlib", "mcp", "numpy", "optuna", "pandas", "PIL", "pydantic", "ray", "rich", "torch",
    "torchvision",
}  # fmt: skip
PACKAGES = {"search", "search.agent", "search.cluster"}


def file_of(module):
    return ROOT / "search" / f"{module.replace('.', '/')}.py"


def imports_of(module):
    tree = ast.parse(file_of(module).read_text())
    named = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in PACKAGES:
            named |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            named.add(node.module)
    own = {name.removeprefix("search.") for name in named if name.startswith("search.") or name == "prepare"}
    return own | ({name.split(".")[0] for name in named} & LIBRARIES)


def test_every_module_is_listed():
    found = {path.relative_to(ROOT / "search").with_suffix("") for path in (ROOT / "search").rglob("*.py")}
    names = {".".join(path.parts) for path in found if path.name != "__init__"}
    assert names == set(IMPORTS)


@pytest.mark.parametrize("module", sorted(IMPORTS))
def test_modules_import_what_they_may(module):
    assert imports_of(module) == IMPORTS[module]


def test_guard_and_types_need_the_standard_library_only():
    for module in ("guard", "confine", "types"):
        tree = ast.parse(file_of(module).read_text())
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
