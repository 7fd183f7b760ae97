"""Options of the commands."""

from search.cli.options import parser, plan_of, settle
from search.core.types import Settings


def test_the_agent_of_a_search_goes_on_unless_another_is_named():
    options = parser().parse_args(["--resume", "t", "--agent", "none"])
    settle(options)
    assert plan_of(options, "builtin") is None
    options = parser().parse_args(["--resume", "t"])
    settle(options)
    assert plan_of(options, "builtin").name == "builtin"
    assert plan_of(options, Settings.agent) is None  # a search from before there were agents
