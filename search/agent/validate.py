"""Whether an edited train.py may be tried, as far as its text says. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from search.agent.likeness import TriedEdit, resembled
from search.core.recipe import check_like, code_id, identity_of, read_recipe
from search.core.space import Space, adapted
from search.core.types import SearchError

LARGEST_FILE = 400_000  # characters of a train.py


@dataclass(frozen=True)
class Refusal:
    """Why an edit is not tried; handed back to whoever made it. final: asking again would give no other."""

    reason: str
    final: bool = False


@dataclass(frozen=True)
class EditBase:
    """What edits are made from: the incumbent's train.py and its axes. identities: what was tried or refused before, by
    recipe.identity, with a name for each. lost: edits that were made before and not kept."""

    commit: str
    source: str
    space: Space
    identities: Mapping[str, str]
    lost: Sequence[TriedEdit] = ()


def validate(source: str, edit_base: EditBase) -> str | Refusal:
    """The identity of an edited train.py; a refusal if it cannot be tried or says nothing new."""
    if len(source) > LARGEST_FILE:
        return Refusal(f"train.py has {len(source)} characters; {LARGEST_FILE} at most")
    try:
        check_like(source, edit_base.source)
        fields, identity = read_recipe(source), identity_of(source)
        adapted(edit_base.space, read_recipe(edit_base.source), fields)
    except SearchError as error:
        return Refusal(str(error))
    if identity == identity_of(edit_base.source):
        return Refusal("nothing but formatting and comments was changed in train.py")
    if code_id(source) == code_id(edit_base.source):  # Optuna's own part: within its axes
        outside = [axis for axis in edit_base.space.axes if not axis.allows(fields[axis.name].value)]
        if outside:
            value = fields[outside[0].name].value
            return Refusal(f"{outside[0].name} is {value!r}, outside its axis, and nothing else of the code is changed")
    twin = edit_base.identities.get(identity)
    if twin is not None:
        return Refusal(f"the same as {twin}, up to formatting and comments: it is known how that went")
    like = resembled(edit_base.source, source, edit_base.lost)
    if like is not None:
        return Refusal(f"it changes almost the same lines as {like.name}, which was not kept ({like.fate})")
    return identity
