"""Reading and rewriting the Recipe of a train.py."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.core.recipe import RecipeError, code_id, code_size, read_recipe, values_of
from search.trial.rewrite import rewrite_recipe
from tests.support.repositories import ROOT

SOURCE = '''"""Doc."""
from dataclasses import dataclass
from typing import Literal

@dataclass
class Recipe:
    """The recipe."""

    lr: float = 0.01  # of the head
    arch: Literal["a", "b"] = "a"
    on: bool = True

    def lr_of(self):
        lr: float = 3.0
        return lr

lr: float = 5.0
'''


def test_reads_fields_with_choices():
    fields = read_recipe(SOURCE)
    assert {name: field.value for name, field in fields.items()} == {"lr": 0.01, "arch": "a", "on": True}
    assert fields["arch"].choices == ("a", "b")


@given(st.floats(1e-8, 1e3), st.sampled_from(["a", "b"]), st.booleans())
def test_rewriting_changes_these_values_and_not_one_other_byte(lr, arch, on):
    rewritten = rewrite_recipe(SOURCE, {"lr": lr, "arch": arch, "on": on})
    assert values_of(rewritten) == {"lr": lr, "arch": arch, "on": on}
    assert rewrite_recipe(rewritten, values_of(SOURCE)) == SOURCE.replace('= "a"', "= 'a'")
    assert code_id(rewritten) == code_id(SOURCE)


def test_the_code_differs_when_anything_but_a_value_does():
    assert code_id(SOURCE.replace("# of the head", "# other")) == code_id(SOURCE)
    assert code_id(SOURCE.replace("return lr", "return -lr")) != code_id(SOURCE)
    assert code_size(SOURCE) < code_size(SOURCE + "x = 1\n")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("x = (", "does not parse"),
        ("x = 1", "no class Recipe"),
        ("class Recipe:\n    lr: float = f()\n", "Recipe.lr is not a literal"),
        ("class Recipe:\n    lr: float\n", "Recipe.lr is None"),
        ("class Recipe:\n    lr: float = 1e999\n", "Recipe.lr is inf"),
    ],
)
def test_a_recipe_that_cannot_be_read_is_told_in_words(source, words):
    with pytest.raises(RecipeError, match=words):
        read_recipe(source)


def test_an_unknown_field_is_refused():
    with pytest.raises(RecipeError, match="no field depth"):
        rewrite_recipe(SOURCE, {"depth": 3})


def test_the_shipped_recipe_can_be_read_and_rewritten():
    source = (ROOT / "train.py").read_text()
    assert len(read_recipe(source)) >= 20
    assert values_of(rewrite_recipe(source, {"lr": 0.5}))["lr"] == 0.5


def test_values_are_found_wherever_they_stand():
    fields = "    lr: float = (  # één\r\n        0.1\r\n    )\r\n    on: bool = True; n: int = 3\r\n"
    source = f"# é\u2028\x0c\r\nclass Recipe:\r\n{fields}"
    rewritten = rewrite_recipe(source, {"n": 44, "lr": 0.25, "on": False})
    assert rewritten == source.replace("0.1", "0.25").replace("True", "False").replace("3", "44")
