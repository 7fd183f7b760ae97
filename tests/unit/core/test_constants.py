"""Hyperparameters that are constants in capitals, as in karpathy/autoresearch."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.core.recipe import RecipeError, check_like, code_id, identity_of, read_recipe, usages, values_of
from search.trial.rewrite import rewrite_constants, rewrite_recipe

SOURCE = '''"""Trains."""
import os

DEPTH = 8               # number of layers; 2 … 32
TOTAL_BATCH_SIZE = 2**19 # ~524K tokens
RATE: float = 1  # 0.1 … 10
WINDOW = "SSSL"
BETAS = (0.8, 0.95)
lower = 3
ROOT = os.environ["HOME"]
TWICE = 1
TWICE = 2
ON = True


def build(depth):
    INNER = 5
    return depth * RATE + INNER


print(build(DEPTH), TOTAL_BATCH_SIZE // 2, WINDOW, ON)
'''


def test_constants_that_are_set_once_to_a_value_are_read_with_their_notes():
    fields = read_recipe(SOURCE)
    assert {name: one.value for name, one in fields.items()} == {
        "DEPTH": 8, "TOTAL_BATCH_SIZE": 524288, "RATE": 1, "WINDOW": "SSSL", "ON": True,
    }  # fmt: skip
    assert fields["DEPTH"].note == "number of layers; 2 … 32" and fields["RATE"].is_float


@given(st.integers(1, 99), st.sampled_from(["L", "SL"]), st.booleans())
def test_rewriting_changes_these_values_and_not_one_other_byte(depth, window, on):
    rewritten = rewrite_recipe(SOURCE, {"DEPTH": depth, "WINDOW": window, "ON": on})
    assert {**values_of(SOURCE), "DEPTH": depth, "WINDOW": window, "ON": on} == values_of(rewritten)
    back = rewrite_recipe(rewritten, {"DEPTH": 8, "WINDOW": "SSSL", "ON": True})
    assert back == SOURCE.replace('"SSSL"', "'SSSL'") and code_id(rewritten) == code_id(SOURCE)


def test_code_is_what_is_left_without_their_values():
    assert code_id(SOURCE.replace("2**19", "2**18")) == code_id(SOURCE)
    assert identity_of(SOURCE.replace("2**19", "524288")) == identity_of(SOURCE)
    assert code_id(SOURCE.replace("(0.8, 0.95)", "(0.9, 0.95)")) != code_id(SOURCE)
    assert code_id(SOURCE.replace("depth * RATE", "depth + RATE")) != code_id(SOURCE)


def test_a_constant_means_the_same_while_the_statements_that_read_it_are_the_same():
    before, after = usages(SOURCE), usages(SOURCE.replace("depth * RATE", "depth + RATE"))
    assert before["RATE"] != after["RATE"] and before["DEPTH"] == after["DEPTH"]


def test_a_constant_of_another_file_can_be_rewritten_and_one_that_is_not_there_is_told():
    assert rewrite_constants("TIME_BUDGET = 300  # seconds\n", {"TIME_BUDGET": 5}) == "TIME_BUDGET = 5  # seconds\n"
    with pytest.raises(RecipeError, match="no constant BUDGET"):
        rewrite_constants("TIME_BUDGET = 300\n", {"BUDGET": 5})


def test_an_edit_may_not_move_them_from_a_recipe_to_constants():
    recipe = "class Recipe:\n    lr: float = 0.1\n"
    with pytest.raises(RecipeError, match="no class Recipe"):
        check_like("LR = 0.1\n", recipe)
    check_like(recipe, "LR = 0.1\n")


@pytest.mark.parametrize("source", ["x = 1\n", "A = f()\n", "A = 9**999\n", "A = 1 / 0\n", "A = 1\nA = 2\n"])
def test_a_file_without_any_is_told(source):
    with pytest.raises(RecipeError, match="no constants in capitals"):
        read_recipe(source)
