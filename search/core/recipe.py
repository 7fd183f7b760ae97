"""Reads the Recipe of a train.py, and what makes two of them the same."""

from __future__ import annotations

import ast
import hashlib
import io
import tokenize
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from search.core.types import SearchError, Value

LARGEST_NUMBER = 1e15
_HOLDS_STATEMENTS = (ast.stmt, ast.ExceptHandler, ast.match_case)


class RecipeError(SearchError):
    """A train.py whose Recipe cannot be read."""


@dataclass(frozen=True)
class Field:
    """One recipe field: its value, what its annotation allows if it is a Literal, and the comment beside it."""

    name: str
    value: Value
    choices: tuple[Value, ...] = ()
    note: str = ""
    is_float: bool = False  # by its annotation: its value may lack the dot


def read_recipe(source: str) -> dict[str, Field]:
    """The fields of `class Recipe`, by name. Raises RecipeError if there is none or a value is no literal."""
    fields, notes = {}, None
    for item in _recipe_class(source).body:
        if not isinstance(item, ast.AnnAssign) or not isinstance(item.target, ast.Name):
            continue
        name = item.target.id
        try:
            value = ast.literal_eval(item.value) if item.value is not None else None
            choices = _literal_choices(item.annotation)
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
            raise RecipeError(f"Recipe.{name} is not a literal") from error
        if isinstance(value, (int, float)) and not -LARGEST_NUMBER < value < LARGEST_NUMBER:  # nor NaN
            raise RecipeError(f"Recipe.{name} is {str(value)[:20]}; a number between ±{LARGEST_NUMBER:.0e}")
        if not isinstance(value, (bool, int, float, str)):
            raise RecipeError(f"Recipe.{name} is {value!r}; a recipe holds numbers, strings, True and False")
        notes = _comments(source) if notes is None else notes
        fields[name] = Field(
            name, value, choices, notes.get(item.end_lineno or 0, ""), getattr(item.annotation, "id", "") == "float"
        )
    if not fields:
        raise RecipeError("class Recipe has no fields")
    return fields


def values_of(source: str) -> dict[str, Value]:
    """The recipe's values, by field."""
    return {name: field.value for name, field in read_recipe(source).items()}


def parsed(source: str) -> ast.Module:
    """Raises RecipeError if it does not parse."""
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise RecipeError(f"train.py does not parse: {error}") from error


def _recipe_class(source: str) -> ast.ClassDef:
    for node in parsed(source).body:
        if isinstance(node, ast.ClassDef) and node.name == "Recipe":
            return node
    raise RecipeError("train.py has no class Recipe at its top level")


def _comments(source: str) -> dict[int, str]:
    """Line number -> the comment that stands there."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}


def _literal_choices(annotation: ast.expr) -> tuple[Value, ...]:
    if isinstance(annotation, ast.Subscript) and getattr(annotation.value, "id", "") == "Literal":
        choices = ast.literal_eval(annotation.slice)
        return choices if isinstance(choices, tuple) else (choices,)
    return ()


def code_id(source: str) -> str:
    """A hash of the code: train.py less its recipe's values, comments, docstrings and formatting. 16 hex digits."""
    tree = parsed(source)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            node.body = [item for item in node.body if not _is_text(item)]
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == "Recipe":
            for item in node.body:
                if isinstance(item, ast.AnnAssign):
                    item.value = None
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:16]


def _is_text(item: ast.stmt) -> bool:
    return isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant) and isinstance(item.value.value, str)


def identity(code: str, values: Mapping[str, Value]) -> str:
    """What makes two train.py the same: their code, by code_id, and their recipe's values. 16 hex digits."""
    return hashlib.sha256(f"{code} {sorted(values.items())!r}".encode()).hexdigest()[:16]


def identity_of(source: str) -> str:
    """The identity of a train.py. Raises RecipeError if it has no recipe."""
    return identity(code_id(source), values_of(source))


def usages(source: str) -> dict[str, str]:
    """Recipe field -> hash of every statement that reads it: while that is the same, the field means the same."""
    found: dict[str, list[str]] = defaultdict(list)
    names = set(values_of(source))
    for node in ast.walk(parsed(source)):
        if not isinstance(node, _HOLDS_STATEMENTS):
            continue
        parts = [part for part in ast.iter_child_nodes(node) if not isinstance(part, _HOLDS_STATEMENTS)]
        text = " ".join([type(node).__name__, *map(ast.dump, parts)])
        read = {item.attr for part in parts for item in ast.walk(part) if isinstance(item, ast.Attribute)} & names
        for name in read:
            found[name].append(text)
    return {name: hashlib.sha256("\n".join(sorted(found[name])).encode()).hexdigest()[:16] for name in names}


def code_size(source: str) -> int:
    """The measure of simplicity: the number of syntax nodes of the code, so comments and layout do not count."""
    return sum(1 for _ in ast.walk(parsed(source)))
