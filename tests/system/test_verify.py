"""search.verify on a search that has ended."""

from collections import Counter

from search.core.seeds import VERIFICATION_SEEDS
from tests.support.launching import agent, ask, launch, records


def test_a_verification_runs_fresh_seeds_of_both_sides_and_nothing_else(fast_repository, demo, tmp_path):
    script = agent(tmp_path, "")
    launch(fast_repository, demo, "--tag", "t", "--experiments", "5", "--confirm-seeds", "0", "--agent", script)
    (tmp_path / "agent.py").unlink()  # nobody is asked for proposals
    rows = len(records(fast_repository, "decisions.jsonl"))
    incumbent = [one for one in records(fast_repository, "decisions.jsonl") if one["status"] == "keep"][-1]
    sides = {0, incumbent["experiment"]}

    def fresh():
        trials = records(fast_repository, "trials.jsonl")
        return Counter(one["experiment"] for one in trials if one["seed"] >= VERIFICATION_SEEDS)

    ask(fast_repository, "verify", "--seeds", "2")
    assert fresh() == dict.fromkeys(sides, 2)
    ask(fast_repository, "verify", "t", "--seeds", "2")
    assert fresh() == dict.fromkeys(sides, 2)
    ask(fast_repository, "verify", "--seeds", "3")
    assert fresh() == dict.fromkeys(sides, 3)
    assert len(records(fast_repository, "decisions.jsonl")) == rows
    shown = ask(fast_repository, "show", str(incumbent["experiment"]))["trials"]
    assert [one["why"] for one in shown if one["seed"] >= VERIFICATION_SEEDS] == [
        "search.verify asked for it: nothing is chosen by it"
    ] * 3
    recommended = ask(fast_repository, "status")["recommended"]
    if len(sides) == 2:
        assert recommended["fresh_seeds"] == recommended["fresh_seeds_of_baseline"] == 3
