"""Reads and rewrites the Recipe literals of a train.py, leaving every other byte as it is."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import libcst as cst

from search.types import SearchError, Value


class RecipeError(SearchError):
    """A train.py whose Recipe cannot be read."""


@dataclass(frozen=True)
class Field:
    """One recipe field: its value, and the values its annotation allows where it is a Literal."""

    name: str
    value: Value
    choices: tuple[Value, ...] = ()


def read_recipe(source: str) -> dict[str, Field]:
    """The fields of `class Recipe`, by name. Raises RecipeError where there is none or a value is no literal."""
    fields = {}
    for item in _recipe_class(source).body:
        if not isinstance(item, ast.AnnAssign) or not isinstance(item.target, ast.Name):
            continue
        name = item.target.id
        try:
            value = ast.literal_eval(item.value) if item.value is not None else None
        except ValueError as error:
            raise RecipeError(f"Recipe.{name} is not a literal") from error
        if not isinstance(value, (bool, int, float, str)):
            raise RecipeError(f"Recipe.{name} is {value!r}; a recipe holds numbers, strings, True and False")
        fields[name] = Field(name, value, _literal_choices(item.annotation))
    if not fields:
        raise RecipeError("class Recipe has no fields")
    return fields


def values_of(source: str) -> dict[str, Value]:
    """The recipe's values, by field."""
    return {name: field.value for name, field in read_recipe(source).items()}


def _parse(source: str) -> ast.Module:
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError) as error:
        raise RecipeError(f"train.py does not parse: {error}") from error


def _recipe_class(source: str) -> ast.ClassDef:
    for node in _parse(source).body:
        if isinstance(node, ast.ClassDef) and node.name == "Recipe":
            return node
    raise RecipeError("train.py has no class Recipe at its top level")


def _literal_choices(annotation: ast.expr) -> tuple[Value, ...]:
    if isinstance(annotation, ast.Subscript) and getattr(annotation.value, "id", "") == "Literal":
        choices = ast.literal_eval(annotation.slice)
        return choices if isinstance(choices, tuple) else (choices,)
    return ()


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
    """The source with new values for some fields. Raises RecipeError where a field is not in the recipe."""
    _parse(source)
    rewriter = _Rewriter(changes)
    rewritten = cst.parse_module(source).visit(rewriter).code
    if rewriter.changes:
        raise RecipeError(f"Recipe has no field {', '.join(sorted(rewriter.changes))}")
    return rewritten


def code_id(source: str) -> str:
    """A hash of the code: train.py apart from its recipe's values, comments and formatting. 16 hex digits."""
    tree = _parse(source)
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == "Recipe":
            for item in node.body:
                if isinstance(item, ast.AnnAssign):
                    item.value = None
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:16]


def code_size(source: str) -> int:
    """The measure of simplicity: the number of syntax nodes of the code, so comments and layout do not count."""
    return sum(1 for _ in ast.walk(_parse(source)))
