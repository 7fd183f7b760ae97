"""Which edits can be tried."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.agent.likeness import TriedEdit, likeness
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


MIXUP = "def mixup(x):\n    y = x.flip(0)\n    {line}\n    return x * 0.5 + y * 0.5\n"


def test_an_edit_much_like_one_that_was_lost_is_refused_and_names_it():
    lost = TriedEdit("proposal 3 (mixup)", "discard: bin_acc -0.01", train_of(), train_of(more=MIXUP.format(line="")))
    base = EditBase("c", train_of(width=16), SPACE, {}, (lost,))  # the incumbent has moved since
    again = train_of(width=16, more="# another comment\n" + MIXUP.format(line=""))
    found = validate(again, base)
    assert isinstance(found, Refusal)
    assert (
        found.reason
        == "it changes almost the same lines as proposal 3 (mixup), which was not kept (discard: bin_acc -0.01)"
    )
    more = "x.mul_(2)\n    y.mul_(3)\n    x.add_(1)"
    assert not isinstance(validate(train_of(width=16, more=MIXUP.format(line=more)), base), Refusal)


@given(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=8), st.lists(st.sampled_from("abcdef"), max_size=8))
def test_likeness_is_one_of_the_same_edit_and_symmetric(one, other):
    first, second = Counter(one), Counter(other)
    assert likeness(first, first) == 1 and 0 <= likeness(first, second) == likeness(second, first) <= 1


def test_an_edit_that_says_something_new_passes():
    assert validate(train_of(more="new = 1\n"), EditBase("c", train_of(), SPACE, {})) == identity_of(
        train_of(more="new = 1\n")
    )
