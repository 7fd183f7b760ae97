"""Rewrites hyperparameters of a train.py, and constants of other files, leaving every other byte as it is."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence

from search.core.recipe import RecipeError, parsed, recipe_class
from search.core.types import Value

NEWLINE = re.compile(rb"\r\n|\r|\n")
NOT_WITHIN = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)


def rewrite_recipe(source: str, changes: Mapping[str, Value]) -> str:
    """The source with new values for some hyperparameters. Raises RecipeError if one is not there."""
    recipe = recipe_class(parsed(source))
    if recipe is None:
        return rewrite_constants(source, changes)
    fields = ((name, value) for item in recipe.body if isinstance(item, ast.AnnAssign) for name, value in _set_by(item))
    return _rewritten(source, fields, changes, "Recipe has no field {}")


def rewrite_constants(source: str, changes: Mapping[str, Value]) -> str:
    """The source with new values for constants at its top level; of one that is set twice, the first. Raises
    RecipeError if one is not there."""
    constants = (found for item in _statements(parsed(source).body) for found in _set_by(item))
    return _rewritten(source, constants, changes, "it has no constant {} at its top level")


def _statements(nodes: Sequence[ast.AST]) -> Iterator[ast.AST]:
    """These and all within them, in their order, but for what is in functions and classes."""
    for node in nodes:
        if not isinstance(node, NOT_WITHIN):
            yield node
            yield from _statements(list(ast.iter_child_nodes(node)))


def _set_by(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """The name that a statement sets, and the expression that it sets it to."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
    if len(targets) == 1 and isinstance(targets[0], ast.Name) and value is not None:
        yield targets[0].id, value


def _rewritten(source: str, found: Iterator[tuple[str, ast.expr]], changes: Mapping[str, Value], missing: str) -> str:
    """found: names, and where their values stand. missing: what is said of changes that are not among them."""
    places: dict[str, ast.expr] = {}
    for name, value in found:
        places.setdefault(name, value)
    if lacking := sorted(set(changes) - set(places)):
        raise RecipeError(missing.format(", ".join(lacking)))
    text = source.encode()  # the parser counts bytes
    lines = [0, *(newline.end() for newline in NEWLINE.finditer(text))]

    def span(name: str) -> tuple[int, int]:
        node = places[name]
        assert node.end_lineno is not None and node.end_col_offset is not None
        return lines[node.lineno - 1] + node.col_offset, lines[node.end_lineno - 1] + node.end_col_offset

    for name in sorted(changes, key=span, reverse=True):  # from behind: what comes before keeps its place
        start, end = span(name)
        text = text[:start] + repr(changes[name]).encode() + text[end:]
    return text.decode()
