"""Rewrites the Recipe literals of a train.py, leaving every other byte as it is."""

from __future__ import annotations

from collections.abc import Mapping

import libcst as cst

from search.core.recipe import RecipeError, parsed
from search.core.types import Value


class _Rewriter(cst.CSTTransformer):
    def __init__(self, changes: Mapping[str, Value]) -> None:
        self.changes, self.inside = dict(changes), False

    def visit_ClassDef(self, node: cst.ClassDef) -> bool:
        self.inside = node.name.value == "Recipe"
        return self.inside

    def leave_ClassDef(self, original_node: cst.ClassDef, updated_node: cst.ClassDef) -> cst.ClassDef:
        self.inside = False
        return updated_node

    def visit_FunctionDef(self, node: cst.FunctionDef) -> bool:
        return False

    def leave_AnnAssign(self, original_node: cst.AnnAssign, updated_node: cst.AnnAssign) -> cst.AnnAssign:
        name = updated_node.target.value if isinstance(updated_node.target, cst.Name) else ""
        if not self.inside or name not in self.changes:
            return updated_node
        return updated_node.with_changes(value=cst.parse_expression(repr(self.changes.pop(name))))


def rewrite_recipe(source: str, changes: Mapping[str, Value]) -> str:
    """The source with new values for some fields. Raises RecipeError if a field is not in the recipe."""
    parsed(source)
    rewriter = _Rewriter(changes)
    rewritten = cst.parse_module(source).visit(rewriter).code
    if rewriter.changes:
        raise RecipeError(f"Recipe has no field {', '.join(sorted(rewriter.changes))}")
    return rewritten
