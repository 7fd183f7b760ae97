"""Which weights are taken home, and whether they are those that were scored."""

import numpy as np
import pytest

from search.core.types import SearchError, UsageError
from search.model.chosen import choose, differs
from search.report.search_records import SearchRecords
from tests.edge.web import made_up


@pytest.fixture
def records(tmp_path):
    found = SearchRecords(made_up.search(tmp_path, 12))
    found.refresh()
    return found


def test_the_first_seed_of_what_is_recommended_is_taken_whatever_it_scored(records):
    chosen = choose(records, lambda trial: True, None, None, False)
    assert chosen.recommended and chosen.seeds == [0]
    assert choose(records, lambda trial: True, None, 2, False).seeds == [2]
    assert choose(records, lambda trial: True, None, None, True).seeds == [0, 1, 2, 3]
    assert choose(records, lambda trial: not trial.endswith("s0"), None, None, False).seeds == [1]


def test_another_commit_may_be_named(records):
    other = next(one for one in records.decisions if one.experiment and one.score is not None)
    chosen = choose(records, lambda trial: True, other.commit[:9], None, False)
    assert not chosen.recommended and chosen.decision.commit == other.commit


@pytest.mark.parametrize(
    ("commit", "seed", "has", "kind", "words"),
    [
        ("fffffff", None, True, UsageError, "no experiment"),
        ("0", None, True, UsageError, "several experiments"),
        (None, 99, True, UsageError, "no weights of .* with this seed"),
        (None, None, False, SearchError, "there are those of none"),
    ],
)
def test_what_is_not_there_is_said(records, commit, seed, has, kind, words):
    with pytest.raises(kind, match=words):
        choose(records, lambda trial: has, commit, seed, False)


def test_other_weights_than_were_scored_are_told(records):
    on_cpu = [one for one in records.outcomes if one.machine == "cpu"][:1]
    scored = np.full((10, 5), 0.2)
    assert differs(scored + 1e-4, scored, on_cpu) == ""
    assert "are not taken home" in differs(scored + 0.01, scored, on_cpu)
