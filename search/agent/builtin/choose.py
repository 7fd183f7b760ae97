"""The embedded agent: an edit of the catalogue, chosen by what has worked. Needs no model and no network. Pure."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from search.agent.builtin import network_edits, training_edits
from search.agent.builtin.catalogue import EDITS, Edit, apply_edit
from search.core.recipe import identity_of
from search.core.types import Value

CATALOGUES = (network_edits, training_edits)  # importing them fills EDITS
PRIOR = (1.0, 2.0)  # of a Beta distribution: one edit in three is worth keeping, before anything is known
AGAIN = 0.4  # how much less likely an edit is chosen, for each time that it was tried and not kept


@dataclass(frozen=True)
class Tried:
    """One earlier edit of the catalogue, by its name."""

    edit: str
    kept: bool


def choose(
    source: str,
    recipe: Mapping[str, Value],
    tried: Sequence[Tried],
    known: Collection[str],
    passed_over: Collection[str],
    rng: random.Random,
) -> tuple[Edit, str] | None:
    """(edit, edited source), or None if no edit of the catalogue applies and is new.

    Thompson sampling (Thompson, 1933) over the families of edits by how many of each were kept; within them an edit
    that was tried in vain is less likely to be tried again, on a later incumbent. known: identities tried already.
    passed_over: names not to choose.
    """
    family_of = {one.name: one.family for one in EDITS}
    kept = Counter(family_of[one.edit] for one in tried if one.edit in family_of and one.kept)
    lost = Counter(family_of[one.edit] for one in tried if one.edit in family_of and not one.kept)
    in_vain = Counter(one.edit for one in tried if not one.kept)

    def promise(one: Edit) -> float:
        chance = rng.betavariate(PRIOR[0] + kept[one.family], PRIOR[1] + lost[one.family])
        return chance * rng.random() * AGAIN ** in_vain[one.name]

    for one in sorted(EDITS, key=promise, reverse=True):
        if one.name in passed_over:
            continue
        try:
            edited = apply_edit(one, source, recipe)
        except Exception:  # code that the edit was not written for: the others may apply
            continue
        if identity_of(edited) not in known:
            return one, edited
    return None
