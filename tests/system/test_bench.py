"""The benches run, and end with their figures."""

import json
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
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.skipif(not TABLE.exists(), reason=f"the table of learning runs is not at {TABLE}")
@pytest.mark.parametrize("seeds", [2, pytest.param(30, marks=pytest.mark.full)])
def test_proposals_beat_random_moves(seeds):
    figures = bench("proposals", "--table", str(TABLE), "--seeds", str(seeds))
    assert figures["regret"] < figures["regret_random"]
    if seeds == 30:
        assert figures["win_rate_over_random"] >= 0.8


@pytest.mark.parametrize("replays", [20, pytest.param(400, marks=pytest.mark.full)])
def test_confirming_pays(replays):
    figures = bench("evidence", "--replays", str(replays))
    assert figures["true_gain"] > figures["true_gain_bare_rule"]
    assert figures["kept_truly_better"] > figures["kept_truly_better_bare_rule"]
    if replays == 400:
        assert figures["gain_ratio"] >= 2
        assert figures["kept_truly_better"] >= 0.85
        assert figures["confirmation_share_of_trials"] <= 0.2


@pytest.mark.full
def test_the_noise_of_seeds_is_measured_on_real_runs():
    flags = ("--recipe=--arch lite", "--recipe=--arch lite --lr 0.01", "--seeds", "2", "--max-train-seconds", "1")
    figures = bench("seed_noise", *flags)
    assert figures["recipes"] == figures["seeds"] == 2
    assert figures["noise_bin_acc"] >= 0 and -1 <= figures["correlation"] <= 1


@pytest.mark.full
def test_what_a_cluster_costs_its_head_is_measured_on_real_nodes():
    figures = bench("cluster", "--nodes", "1", "2", "--rounds", "3")
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
