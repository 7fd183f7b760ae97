"""What a running search says to its agents."""

from tests.support.repositories import ROOT
from tests.support.states import TASK


def test_the_program_has_rules_that_fit_a_brief():
    from search.driver.proposals import rules_of

    class Repository:
        def file_at(self, commit, path):
            return (ROOT / path).read_text()

    rules = rules_of(Repository(), "HEAD", TASK)
    assert rules.startswith("- Edit `train.py` and nothing else") and 800 < len(rules) < 4000
