"""When two train.py are the same, and when a field means the same in both."""

from search.core.recipe import code_id, identity_of, usages
from search.trial.rewrite import rewrite_recipe
from tests.support.states import BODY, train_of


def test_two_train_py_are_the_same_up_to_formatting_comments_and_docstrings():
    source = train_of(more=BODY)
    again = '"""Says what."""\n' + source.replace(
        "    if recipe.lr > 0:", "    # why\n    if (recipe.lr\n        > 0):"
    )
    assert identity_of(again) == identity_of(source)
    assert identity_of(source.replace("> 0", "> 1")) != identity_of(source)
    assert identity_of(rewrite_recipe(source, {"lr": 0.5})) != identity_of(source)
    assert code_id(rewrite_recipe(source, {"lr": 0.5})) == code_id(source)


def test_a_field_means_the_same_while_the_statements_that_read_it_are_the_same():
    before = usages(train_of(more=BODY))
    inner = usages(train_of(more=BODY.replace("        step(recipe.lr)", "        other()\n        step(recipe.lr)")))
    assert inner == before
    header = usages(train_of(more=BODY.replace("recipe.lr > 0", "recipe.lr > 1")))
    assert header["lr"] != before["lr"] and header["width"] == before["width"]
