"""What a command line means."""

import pytest

from search.cli.options import DEFAULTS, parsed, plan_of
from search.core.types import UsageError


def test_the_agent_of_a_search_goes_on_unless_another_is_named():
    assert plan_of(parsed(["--resume", "t", "--agent", "none"]), "builtin") is None
    options = parsed(["--resume", "t"])
    assert plan_of(options, "builtin").name == "builtin"
    assert plan_of(options, "none") is None


def test_what_is_not_named_has_the_one_default():
    assert parsed([]).search == DEFAULTS
    options = parsed(["--seed", "7", "--rounds", "2", "--experiments", "99"])
    assert (options.search.seed, options.named, options.limit.experiments) == (7, {"seed"}, 24)
    with pytest.raises(UsageError, match=r"leave out --(seed|confirm-seeds), --(seed|confirm-seeds)"):
        parsed(["--resume", "t", "--seed", "7", "--confirm-seeds", "1"])
