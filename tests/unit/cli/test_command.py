"""How the commands are told which search is meant."""

import pytest

from search.cli import command


@pytest.mark.parametrize(
    ("arguments", "tag"),
    [([], None), (["nov27"], "nov27"), (["--tag", "nov27"], "nov27"), (["nov27", "--json"], "nov27")],
)
def test_a_search_is_named_by_position_or_by_flag(arguments, tag):
    assert command.parser("stop", "Ends it.", by_position=True).parse_args(arguments).tag == tag


def test_where_something_else_stands_there_it_is_named_by_the_flag():
    with pytest.raises(SystemExit):
        command.parser("propose", "Hands in.").parse_args(["nov27"])
