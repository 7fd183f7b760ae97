"""How alike two edits of train.py are, by the lines that they take out and put in. Pure."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from search.core.recipe import RecipeError, parsed

ALIKE = 0.85  # share of lines in common from which an edit says nothing new
FEWEST_LINES = 3  # of an edit: of smaller ones, two that differ in one number are alike and may be worth both


@dataclass(frozen=True)
class TriedEdit:
    """An edit that was made before. name: what to call it. fate: what became of it."""

    name: str
    fate: str
    before: str
    after: str


def changed_lines(before: str, after: str) -> Counter[str]:
    """The lines that an edit puts in (+) and takes out (-), without comments and layout. Raises RecipeError if one of
    them does not parse."""
    old, new = (ast.unparse(parsed(source)).splitlines() for source in (before, after))
    found: Counter[str] = Counter()
    for operation, first, last, start, end in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if operation != "equal":
            found.update(f"-{line.strip()}" for line in old[first:last])
            found.update(f"+{line.strip()}" for line in new[start:end])
    return found


def likeness(one: Counter[str], other: Counter[str]) -> float:
    """The share of lines that two edits have in common, 0…1 (Jaccard, 1912, over multisets)."""
    both = sum((one & other).values())
    return both / max(sum((one | other).values()), 1)


def resembled(before: str, after: str, tried: Sequence[TriedEdit]) -> TriedEdit | None:
    """The edit, of those made before, that this one resembles most; None if it is unlike them all."""
    ours = changed_lines(before, after)
    if sum(ours.values()) < FEWEST_LINES:
        return None
    best: tuple[float, TriedEdit | None] = (ALIKE, None)
    for one in tried:
        try:
            alike = likeness(ours, changed_lines(one.before, one.after))
        except RecipeError:
            continue
        best = max(best, (alike, one), key=lambda pair: pair[0])
    return best[1]
