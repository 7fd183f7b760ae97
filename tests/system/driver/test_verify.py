"""search.verify on a search that has ended."""

from collections import Counter

import pytest

from search.core.seeds import VERIFICATION_SEEDS
from tests.support.launching import agent, ask, launch, records


@pytest.mark.full
@pytest.mark.parametrize("asked", [(2,), pytest.param((2, 2, 3), id="again, and with more seeds")])
def test_a_verification_runs_fresh_seeds_of_both_sides_and_nothing_else(fast_repository, demo, tmp_path, asked):
    script = agent(tmp_path, "")
    few = ["--gpus", "2", "--experiments", "5", "--confirm-seeds", "0"]
    launch(fast_repository, demo, "--tag", "t", *few, "--agent", script)
    (tmp_path / "agent.py").unlink()  # nobody is asked for proposals
    rows = len(records(fast_repository, "decisions.jsonl"))
    incumbent = [one for one in records(fast_repository, "decisions.jsonl") if one["status"] == "keep"][-1]
    sides = {0, incumbent["experiment"]}

    def fresh():
        trials = records(fast_repository, "trials.jsonl")
        return Counter(one["experiment"] for one in trials if one["seed"] >= VERIFICATION_SEEDS)

    for seeds in asked:
        ask(fast_repository, "verify", "t", "--seeds", str(seeds))
        assert fresh() == dict.fromkeys(sides, seeds)
    assert len(records(fast_repository, "decisions.jsonl")) == rows
    shown = ask(fast_repository, "show", str(incumbent["experiment"]))["trials"]
    assert [one["why"] for one in shown if one["seed"] >= VERIFICATION_SEEDS] == [
        "search.verify asked for it: nothing is chosen by it"
    ] * asked[-1]
    recommended = ask(fast_repository, "status")["recommended"]
    if len(sides) == 2:
        assert recommended["fresh_seeds"] == recommended["fresh_seeds_of_baseline"] == asked[-1]
