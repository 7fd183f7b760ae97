"""The benches run, and end with their figures."""

import json
import math
import re
import subprocess
import sys

import pytest

from tests.support.repositories import ROOT

TABLE = ROOT.parent / "shared" / "hpo" / "lcbench"


def bench(name, *arguments):
    done = subprocess.run(
        [sys.executable, f"bench/{name}.py", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=True,
    )
    *printed, last = done.stdout.splitlines()
    return json.loads(last), printed


@pytest.mark.skipif(not TABLE.exists(), reason=f"the table of learning runs is not at {TABLE}")
@pytest.mark.parametrize("seeds", [2, pytest.param(30, marks=pytest.mark.full)])
def test_proposals_beat_random_moves(seeds):
    figures, _ = bench("proposals", "--table", str(TABLE), "--seeds", str(seeds))
    assert figures["regret"] < figures["regret_random"]
    if seeds == 30:
        assert figures["win_rate_over_random"] >= 0.8


@pytest.mark.parametrize("replays", [20, pytest.param(400, marks=pytest.mark.full)])
def test_confirming_pays(replays):
    figures, _ = bench("evidence", "--replays", str(replays))
    assert figures["true_gain"] > figures["true_gain_bare_rule"]
    assert figures["kept_truly_better"] > figures["kept_truly_better_bare_rule"]
    if replays == 400:
        assert figures["gain_ratio"] >= 2
        assert figures["kept_truly_better"] >= 0.85
        assert figures["confirmation_share_of_trials"] <= 0.2


@pytest.mark.full
def test_the_noise_of_seeds_is_measured_on_real_runs():
    flags = ("--recipe=--arch lite", "--recipe=--arch lite --lr 0.01", "--seeds", "2", "--max-train-seconds", "1")
    figures, printed = bench("seed_noise", *flags)
    runs = re.findall(r"^(--arch lite.*?) +seed (\d+): ([\d.]+)$", "\n".join(printed), re.MULTILINE)
    scores = {(recipe, int(seed)): float(score) for recipe, seed, score in runs}
    recipes = ("--arch lite", "--arch lite --lr 0.01")
    assert sorted(scores) == [(recipe, seed) for recipe in recipes for seed in (0, 1)]
    assert figures["recipes"] == figures["seeds"] == 2
    means = {recipe: (scores[recipe, 0] + scores[recipe, 1]) / 2 for recipe in recipes}
    assert figures["means"] == pytest.approx(means, abs=1e-5)
    # Of two seeds each: half of how far a recipe's two differ is how far each lies from their mean.
    one, other = ((scores[recipe, 0] - scores[recipe, 1]) / 2 for recipe in recipes)
    assert figures["noise_bin_acc"] == pytest.approx(math.sqrt(one**2 + other**2), abs=1e-5)
    whole = one**2 + other**2
    assert figures["correlation"] == pytest.approx(2 * one * other / whole if whole else 0.0, abs=1e-3)


@pytest.mark.full
def test_what_a_cluster_costs_its_head_is_measured_on_real_nodes():
    figures, _ = bench("cluster", "--nodes", "1", "2", "--rounds", "3")
    assert [size["nodes"] for size in figures["sizes"]] == [1, 2]
    assert all(1000 < count < 20_000 for count in figures["bytes_per_trial"])  # a commit and an outcome, no files
    assert figures["projected"]["gpus"] == 1000 and figures["projected"]["breaks_first"]


def test_a_missing_table_is_one_clear_line():
    done = subprocess.run(
        [sys.executable, "bench/proposals.py", "--table", "/nowhere"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.strip() == "--table /nowhere: no lcbench.py there; name the folder that has it"


@pytest.mark.full
def test_what_a_search_costs_itself_is_measured_at_every_length():
    sizes = ("--lengths", "30", "300", "--slots", "2", "8", "--trials", "10", "--busy-experiments", "3")
    figures, _ = bench("scale", *sizes, "--rows", "2000")
    for name in ("decision_ms", "suggest_ms", "record_ms", "status_s", "resume_s"):
        assert set(figures[name]) == {"30", "300"} and all(value > 0 for value in figures[name].values())
    assert all(0.9 < share <= 1 for share in figures["busy"].values()) and set(figures["busy"]) == {"2", "8"}
    assert figures["summarize_2k_s"] > 0
