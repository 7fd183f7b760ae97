"""Rewrites hyperparameters of a train.py, and constants of other files, leaving every other byte as it is."""

from __future__ import annotations

from collections.abc import Mapping

import libcst as cst

from search.core.recipe import RecipeError, has_recipe, parsed
from search.core.types import Value


class _Rewriter(cst.CSTTransformer):
    """changes: what is left to be rewritten."""

    def __init__(self, changes: Mapping[str, Value]) -> None:
        self.changes = dict(changes)

    def visit_FunctionDef(self, node: cst.FunctionDef) -> bool:
        return False

    def value_for(self, target: cst.BaseExpression) -> cst.BaseExpression | None:
        name = target.value if isinstance(target, cst.Name) else ""
        return cst.parse_expression(repr(self.changes.pop(name))) if name in self.changes else None


class _RecipeRewriter(_Rewriter):
    inside = False

    def visit_ClassDef(self, node: cst.ClassDef) -> bool:
        self.inside = node.name.value == "Recipe"
        return self.inside

    def leave_ClassDef(self, original_node: cst.ClassDef, updated_node: cst.ClassDef) -> cst.ClassDef:
        self.inside = False
        return updated_node

    def leave_AnnAssign(self, original_node: cst.AnnAssign, updated_node: cst.AnnAssign) -> cst.AnnAssign:
        value = self.value_for(updated_node.target) if self.inside else None
        return updated_node if value is None else updated_node.with_changes(value=value)


class _ConstantRewriter(_Rewriter):
    def visit_ClassDef(self, node: cst.ClassDef) -> bool:
        return False

    def leave_AnnAssign(self, original_node: cst.AnnAssign, updated_node: cst.AnnAssign) -> cst.AnnAssign:
        value = self.value_for(updated_node.target)
        return updated_node if value is None else updated_node.with_changes(value=value)

    def leave_Assign(self, original_node: cst.Assign, updated_node: cst.Assign) -> cst.Assign:
        value = self.value_for(updated_node.targets[0].target) if len(updated_node.targets) == 1 else None
        return updated_node if value is None else updated_node.with_changes(value=value)


def rewrite_recipe(source: str, changes: Mapping[str, Value]) -> str:
    """The source with new values for some hyperparameters. Raises RecipeError if one is not there."""
    if not has_recipe(source):
        return rewrite_constants(source, changes)
    rewriter = _RecipeRewriter(changes)
    rewritten = cst.parse_module(source).visit(rewriter).code
    if rewriter.changes:
        raise RecipeError(f"Recipe has no field {', '.join(sorted(rewriter.changes))}")
    return rewritten


def rewrite_constants(source: str, changes: Mapping[str, Value]) -> str:
    """The source with new values for constants at its top level; of one that is set twice, the first. Raises
    RecipeError if one is not there."""
    parsed(source)
    rewriter = _ConstantRewriter(changes)
    rewritten = cst.parse_module(source).visit(rewriter).code
    if rewriter.changes:
        raise RecipeError(f"it has no constant {', '.join(sorted(rewriter.changes))} at its top level")
    return rewritten
