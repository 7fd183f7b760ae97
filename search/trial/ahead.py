"""What a slot has imported ahead of its next trial."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from search.core.task import Task
from search.core.types import GitError
from search.system.git import Repository
from search.system.warm.interpreter import WarmInterpreter
from search.trial.training import environment_of

# Whose import does nothing but load code: it touches no GPU, starts nothing and writes nothing.
SAFE = {"numpy", "scipy", "pandas", "sklearn", "PIL", "torch", "torchvision"}
WITH = {"torch": ["torch", "torch._dynamo"], "PIL": ["PIL.Image"]}  # torch's optimizers import its compiler
MOST_BEGUN = 5  # times that one may be lost; then trials import for themselves


class Ahead:
    """A Python for the next trials of one slot, begun when it is first asked for."""

    def __init__(self) -> None:
        self._interpreter: WarmInterpreter | None = None
        self._begun = 0

    def interpreter(self, repository: Repository, base: str, task: Task, gpu: str, threads: int) -> WarmInterpreter:
        """One with this GPU and so many threads, which may be still importing."""
        nowhere = Path("/nonexistent")
        environment = environment_of(gpu, threads, nowhere, nowhere)
        known = self._interpreter
        if known is not None and known.environment == environment and (not known.fault or self._begun >= MOST_BEGUN):
            return known
        self.close()
        self._begun += 1
        self._interpreter = WarmInterpreter(environment, modules_of(repository, base, task))
        return self._interpreter

    def close(self) -> None:
        if self._interpreter is not None:
            self._interpreter.close()
            self._interpreter = None


def modules_of(repository: Repository, commit: str, task: Task) -> list[str]:
    """What a task's program imports, at once or late, of the libraries whose import is safe: by the files of a
    commit."""
    found: list[str] = []
    seen: set[str] = set()
    waiting = [task.edited, *(word for word in task.command if word.endswith(".py"))]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            tree = ast.parse(repository.file_at(commit, task.path(name)))
        except (GitError, SyntaxError, ValueError):
            continue
        for module, names in imported_by(tree):
            top = module.partition(".")[0]
            if top in SAFE:
                found += [*WITH.get(top, [top]), module]
            else:
                own = [module, *(f"{module}.{one}" for one in names)]
                waiting += [f"{one.replace('.', '/')}.py" for one in own]
    return list(dict.fromkeys(found))


def imported_by(tree: ast.Module) -> Iterator[tuple[str, list[str]]]:
    """The modules that a program imports, also within its functions, and the names that it takes from each."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module, [alias.name for alias in node.names]
