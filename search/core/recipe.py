"""Reads the hyperparameters of a train.py, and what makes two of them the same.

They are the fields of its class Recipe; of a file without one, the constants in capitals at its top level.
"""

from __future__ import annotations

import ast
import hashlib
import io
import operator
import re
import tokenize
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from search.core.types import SearchError, Value

LARGEST_NUMBER = 1e15
CONSTANT = re.compile(r"[A-Z][A-Z0-9_]*")
LARGEST_POWER = 64  # of a constant that is written as one
_OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Pow: operator.pow,
}
_HOLDS_STATEMENTS = (ast.stmt, ast.ExceptHandler, ast.match_case)


class RecipeError(SearchError):
    """A train.py whose hyperparameters cannot be read."""


@dataclass(frozen=True)
class Field:
    """One recipe field, or constant: its value, what a Literal annotation allows, and the comment beside it."""

    name: str
    value: Value
    choices: tuple[Value, ...] = ()
    note: str = ""
    is_float: bool = False  # by its annotation: its value may lack the dot


def read_recipe(source: str) -> dict[str, Field]:
    """The hyperparameters, by name. Raises RecipeError if there are none, or a value of a Recipe is no literal."""
    tree = parsed(source)
    recipe = recipe_class(tree)
    if recipe is None:
        return _constants(tree, source)
    fields, notes = {}, None
    for item in recipe.body:
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


def _constants(tree: ast.Module, source: str) -> dict[str, Field]:
    """Those that are set once, to a number, a text, True or False; numbers may be written as arithmetic."""
    notes, found = _comments(source), {}
    for name, item in constants_of(tree).items():
        value = _evaluated(item.value)
        if isinstance(value, (int, float)) and not -LARGEST_NUMBER < value < LARGEST_NUMBER:
            continue
        if isinstance(value, (bool, int, float, str)):
            annotation = getattr(getattr(item, "annotation", None), "id", "")
            found[name] = Field(name, value, (), notes.get(item.end_lineno or 0, ""), annotation == "float")
    if not found:
        raise RecipeError("train.py has no class Recipe at its top level, and no constants in capitals")
    return found


def constants_of(tree: ast.Module) -> dict[str, ast.Assign | ast.AnnAssign]:
    """The statements at the top level that set constants in capitals; of those that are set once."""
    set_by: dict[str, list[ast.Assign | ast.AnnAssign]] = defaultdict(list)
    for item in tree.body:
        targets = (
            item.targets if isinstance(item, ast.Assign) else [item.target] if isinstance(item, ast.AnnAssign) else []
        )
        if len(targets) == 1 and isinstance(targets[0], ast.Name) and CONSTANT.fullmatch(targets[0].id):
            assert isinstance(item, (ast.Assign, ast.AnnAssign))
            set_by[targets[0].id].append(item)
    return {name: items[0] for name, items in set_by.items() if len(items) == 1 and items[0].value is not None}


def _evaluated(node: ast.expr | None) -> object:
    """The value of a literal, or of arithmetic on literal numbers; None of anything else."""
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        left, right = _evaluated(node.left), _evaluated(node.right)
        are_numbers = all(isinstance(side, (int, float)) and not isinstance(side, bool) for side in (left, right))
        if not are_numbers or (isinstance(node.op, ast.Pow) and abs(right) > LARGEST_POWER):  # type: ignore[arg-type]
            return None
        try:
            return _OPERATORS[type(node.op)](left, right)  # type: ignore[arg-type]
        except (ArithmeticError, ValueError):
            return None
    try:
        return ast.literal_eval(node) if node is not None else None
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return None


def has_recipe(source: str) -> bool:
    """Whether the hyperparameters are the fields of a class Recipe. Raises RecipeError if it does not parse."""
    return recipe_class(parsed(source)) is not None


def check_like(source: str, base: str) -> None:
    """Raises RecipeError if an edited file has no hyperparameters, or not where its base has them."""
    if has_recipe(base) and not has_recipe(source):
        raise RecipeError("train.py has no class Recipe at its top level")
    read_recipe(source)


def values_of(source: str) -> dict[str, Value]:
    """The recipe's values, by field."""
    return {name: field.value for name, field in read_recipe(source).items()}


def parsed(source: str) -> ast.Module:
    """Raises RecipeError if it does not parse."""
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise RecipeError(f"train.py does not parse: {error}") from error


def recipe_class(tree: ast.Module) -> ast.ClassDef | None:
    return next((node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Recipe"), None)


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
    recipe = recipe_class(tree)
    if recipe is not None:
        for item in recipe.body:
            if isinstance(item, ast.AnnAssign):
                item.value = None
    else:
        for item in constants_of(tree).values():
            if isinstance(_evaluated(item.value), (bool, int, float, str)):
                item.value = ast.Constant(None)
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
    names, tree = set(values_of(source)), parsed(source)
    is_recipe = recipe_class(tree) is not None
    for node in ast.walk(tree):
        if not isinstance(node, _HOLDS_STATEMENTS):
            continue
        parts = [part for part in ast.iter_child_nodes(node) if not isinstance(part, _HOLDS_STATEMENTS)]
        text = " ".join([type(node).__name__, *map(ast.dump, parts)])
        inner = [item for part in parts for item in ast.walk(part)]
        if is_recipe:
            read = {item.attr for item in inner if isinstance(item, ast.Attribute)} & names
        else:
            read = {item.id for item in inner if isinstance(item, ast.Name) and isinstance(item.ctx, ast.Load)} & names
        for name in read:
            found[name].append(text)
    return {name: hashlib.sha256("\n".join(sorted(found[name])).encode()).hexdigest()[:16] for name in names}


def code_size(source: str) -> int:
    """The measure of simplicity: the number of syntax nodes of the code, so comments and layout do not count."""
    return sum(1 for _ in ast.walk(parsed(source)))
