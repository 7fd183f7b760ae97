"""Cuts and additions to a train.py, by libcst: what is not touched keeps its every byte. Pure."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Sequence

import libcst as cst


class DoesNotApply(Exception):
    """The code is not one that this edit is for, or has it already."""


class Scoped(cst.CSTTransformer):
    """Knows where it is: `inside("ResidualBlock.forward")` while it visits that function; "" is everywhere."""

    def __init__(self, scope: str) -> None:
        self.scope = scope.split(".") if scope else []
        self.path: list[str] = []
        self.done = 0

    @property
    def inside(self) -> bool:
        return self.path[: len(self.scope)] == self.scope

    def visit_ClassDef(self, node: cst.ClassDef) -> bool:
        return self._enter(node.name.value)

    def visit_FunctionDef(self, node: cst.FunctionDef) -> bool:
        return self._enter(node.name.value)

    def _enter(self, name: str) -> bool:
        """Whether what is within can be of the scope; all else is passed over, which is most of the file."""
        self.path.append(name)
        return all(here == wanted for here, wanted in zip(self.path, self.scope, strict=False))

    def leave_ClassDef(self, original_node: cst.ClassDef, updated_node: cst.ClassDef) -> cst.BaseStatement:
        self.path.pop()
        return updated_node

    def leave_FunctionDef(self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef) -> cst.BaseStatement:
        self.path.pop()
        return updated_node


def _meaning(code: str) -> str:
    return ast.dump(ast.parse(f"({code.strip()})"))


def _code_of(node: cst.CSTNode) -> str:
    return cst.Module([]).code_for_node(node)


class _Replacer(Scoped):
    def __init__(self, scope: str, matches: Callable[[str], bool], new: Callable[[str], str], kind: type) -> None:
        super().__init__(scope)
        self.matches, self.new, self.kind = matches, new, kind

    def on_leave(self, original_node: cst.CSTNode, updated_node: cst.CSTNode) -> cst.CSTNode:  # type: ignore[override]
        found = super().on_leave(original_node, updated_node)
        if self.inside and isinstance(original_node, self.kind):
            code = _code_of(original_node)
            if self.matches(code):
                self.done += 1
                new = cst.parse_expression(self.new(code))
                if not new.lpar:  # type: ignore[attr-defined]
                    new = new.with_changes(lpar=updated_node.lpar, rpar=updated_node.rpar)  # type: ignore[attr-defined]
                return new
        return found  # type: ignore[return-value]


def replace_expression(module: cst.Module, scope: str, old: str, new: str) -> cst.Module:
    """Every expression within a function or class, as "ResidualBlock.forward", that means the same as `old`."""
    kind, meaning = type(cst.parse_expression(old)), _meaning(old)
    return _replaced(module, _Replacer(scope, lambda code: _meaning(code) == meaning, lambda _: new, kind))


def replace_calls(
    module: cst.Module, scope: str, functions: Sequence[str], new: Callable[[str, list[str]], str]
) -> cst.Module:
    """Every call of one of these functions; new: from the call and its arguments, as code."""

    def matches(code: str) -> bool:
        return any(re.match(re.escape(name) + r"\s*\(", code) for name in functions)

    def rewritten(code: str) -> str:
        call = cst.ensure_type(cst.parse_expression(code), cst.Call)
        return new(code, [_code_of(argument.with_changes(comma=cst.MaybeSentinel.DEFAULT)) for argument in call.args])

    return _replaced(module, _Replacer(scope, matches, rewritten, cst.Call))


def _replaced(module: cst.Module, change: Scoped) -> cst.Module:
    edited = module.visit(change)
    if not change.done:
        raise DoesNotApply
    return edited


class _StatementChanger(Scoped):
    def __init__(self, scope: str, pattern: str, new: Callable[[str], str]) -> None:
        super().__init__(scope)
        self.pattern, self.new = re.compile(pattern, re.DOTALL), new

    def leave_SimpleStatementLine(
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> cst.BaseStatement | cst.FlattenSentinel[cst.BaseStatement]:
        return self._changed(updated_node)

    def leave_If(self, original_node: cst.If, updated_node: cst.If) -> cst.BaseStatement | cst.FlattenSentinel[cst.If]:
        return self._changed(updated_node)  # type: ignore[return-value]

    def _changed(self, node: cst.SimpleStatementLine | cst.If) -> cst.BaseStatement | cst.FlattenSentinel:
        bare = node.with_changes(leading_lines=[])
        code = _code_of(bare).strip()
        if not self.inside or not self.pattern.match(code):
            return node
        self.done += 1
        body = list(cst.parse_module(self.new(code)).body)
        if body:
            body[0] = body[0].with_changes(leading_lines=node.leading_lines)
        return cst.FlattenSentinel(body)  # type: ignore[arg-type]


def change_statement(module: cst.Module, scope: str, pattern: str, new: Callable[[str], str]) -> cst.Module:
    """Statements whose code begins as the pattern says; new: from the code, what stands there instead."""
    return _replaced(module, _StatementChanger(scope, pattern, new))


def add_after(module: cst.Module, scope: str, pattern: str, code: str) -> cst.Module:
    return change_statement(module, scope, pattern, lambda found: f"{found}\n{code}")


def add_before(module: cst.Module, scope: str, pattern: str, code: str) -> cst.Module:
    return change_statement(module, scope, pattern, lambda found: f"{code.rstrip()}\n{found}")


class _BodyEnd(Scoped):
    def __init__(self, scope: str, code: str) -> None:
        super().__init__(scope)
        self.code = code

    def leave_FunctionDef(self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef) -> cst.BaseStatement:
        here = self.path == self.scope
        self.path.pop()
        return self._longer(updated_node) if here else updated_node

    def leave_ClassDef(self, original_node: cst.ClassDef, updated_node: cst.ClassDef) -> cst.BaseStatement:
        here = self.path == self.scope
        self.path.pop()
        return self._longer(updated_node) if here else updated_node

    def _longer(self, node: cst.FunctionDef | cst.ClassDef) -> cst.BaseStatement:
        self.done += 1
        added = cst.parse_module(self.code).body
        return node.with_changes(body=node.body.with_changes(body=[*node.body.body, *added]))


def add_to_end(module: cst.Module, scope: str, code: str) -> cst.Module:
    """More statements at the end of a function or class."""
    return _replaced(module, _BodyEnd(scope, code))


def add_field(module: cst.Module, line: str) -> cst.Module:
    """One more recipe field."""
    name = line.partition(":")[0]
    if re.search(rf"^\s+{name}: ", _code_of(module), re.MULTILINE):
        raise DoesNotApply
    return add_to_end(module, "Recipe", line)


class _FieldRemover(Scoped):
    def __init__(self, name: str) -> None:
        super().__init__("")
        self.name = name

    def leave_AnnAssign(
        self, original_node: cst.AnnAssign, updated_node: cst.AnnAssign
    ) -> cst.AnnAssign | cst.RemovalSentinel:
        target = updated_node.target
        if self.path == ["Recipe"] and isinstance(target, cst.Name) and target.value == self.name:
            self.done += 1
            return cst.RemoveFromParent()
        return updated_node

    def leave_Tuple(self, original_node: cst.Tuple, updated_node: cst.Tuple) -> cst.Tuple:
        """Names of fields stand in tuples where flags are checked."""
        kept = [item for item in updated_node.elements if _code_of(item.value) != f'"{self.name}"']
        if len(kept) in (0, len(updated_node.elements)):
            return updated_node
        kept[-1] = kept[-1].with_changes(comma=cst.Comma() if len(kept) == 1 else cst.MaybeSentinel.DEFAULT)
        return updated_node.with_changes(elements=kept)


def remove_field(module: cst.Module, name: str) -> cst.Module:
    """The recipe without a field, which nothing reads any more. Raises DoesNotApply if something does."""
    edited = _replaced(module, _FieldRemover(name))
    if re.search(rf"\brecipe\.{name}\b", edited.code):
        raise DoesNotApply
    return edited


def define(module: cst.Module, before: str, code: str) -> cst.Module:
    """More top-level definitions, before the class or function of this name."""
    added = cst.parse_module(code).body
    known = {getattr(item, "name", None) and item.name.value for item in module.body}  # type: ignore[union-attr]
    if any(item.name.value in known for item in added if isinstance(item, (cst.ClassDef, cst.FunctionDef))):
        raise DoesNotApply
    for position, item in enumerate(module.body):
        if isinstance(item, (cst.ClassDef, cst.FunctionDef)) and item.name.value == before:
            spaced = [one.with_changes(leading_lines=[cst.EmptyLine(indent=False)] * 2) for one in added]
            if not item.leading_lines:
                item = item.with_changes(leading_lines=[cst.EmptyLine(indent=False)] * 2)  # noqa: PLW2901
            return module.with_changes(body=[*module.body[:position], *spaced, item, *module.body[position + 1 :]])
    raise DoesNotApply
