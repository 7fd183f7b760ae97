"""Which edits can be tried."""

import pytest

from search.agent.validate import EditBase, Refusal, validate
from search.core.recipe import identity_of
from tests.support.states import SPACE, train_of


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("x = (", "does not parse"),
        ("x = 1", "no class Recipe"),
        ("# 1\n" + train_of(), "nothing but formatting"),
        (train_of(more="tried = 1\n"), "the same as experiment 4"),
        (train_of(more="# " + "x" * 500_000), "characters"),
        (train_of(more="    depth: int = 9  # 1 … 4\n"), "outside the range"),
        (train_of(width=128), "width is 128, outside its axis"),
        (train_of(more="    kind: Literal[A, B] = 'a'\n"), "Recipe.kind is not a literal"),
        (train_of(more="x = " + "(" * 300 + ")" * 300), "does not parse"),
    ],
)
def test_an_edit_that_cannot_be_tried_is_refused_in_words(source, words):
    known = {identity_of(train_of(more="tried = 1\n")): "experiment 4 (tried)"}
    found = validate(source, EditBase("c", train_of(), SPACE, known))
    assert isinstance(found, Refusal) and words in found.reason


def test_an_edit_that_says_something_new_passes():
    assert validate(train_of(more="new = 1\n"), EditBase("c", train_of(), SPACE, {})) == identity_of(
        train_of(more="new = 1\n")
    )
