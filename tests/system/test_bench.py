"""The benches run, and end with their figures."""

import json
import math
import random
import re
import subprocess
import sys

import pytest

from bench import chaos
from search.report.history import History
from search.report.summary import summarise
from search.system.git import Repository
from search.system.guard import started_at
from tests.support.repositories import ROOT
from tests.support.searches import coordinator_of, run_all, setup_of

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


WORLDS = pytest.mark.parametrize(
    ("world", "repetitions"),
    [("null", 4), *(pytest.param(one, 8, marks=pytest.mark.full) for one in ("generous", "sparse"))],
)


@WORLDS
def test_what_a_search_hands_over_in_a_made_up_world(world, repetitions):
    figures, printed = bench("simulate", world, "--repetitions", str(repetitions))
    assert len(printed) == repetitions
    assert figures["recommended_worse_share"] == 0 and 97 <= figures["trials"] < 200
    low, high = figures["recommended_gain_interval"]
    assert low <= figures["recommended_gain"] <= high
    if world == "null":
        assert figures["recommended_gain"] <= 0 and figures["said_better_share"] <= 0.25
    if world == "generous":
        assert figures["recommended_gain"] > 0.02 and figures["said_better_share"] >= 0.5
        assert figures["kept_truly_better"] > 0.6


def test_a_simulated_search_with_crashes_slow_slots_and_two_kinds_comes_to_its_end():
    flags = ("--slots", "8", "--slow", "2", "--kinds", "2", "--crash-share", "0.1", "--experiments", "24")
    figures, _ = bench("simulate", "generous", "--repetitions", "2", *flags)
    assert figures["trials"] >= 8 + 24


@pytest.mark.skipif(not TABLE.exists(), reason=f"the table of learning runs is not at {TABLE}")
@pytest.mark.parametrize("repetitions", [2, pytest.param(34, marks=pytest.mark.full)])
def test_a_search_of_real_tuning_runs_is_measured_beside_other_samplers(repetitions):
    figures, _ = bench("simulate", "tables", "--repetitions", str(repetitions), "--table", str(TABLE))
    assert figures["trials"] <= 60 and figures["regret"] < figures["regret_of_baseline"]
    if repetitions == 34:
        assert figures["ratio_of_incumbent_to_tpe"] < 1 and figures["regret_of_incumbent"] < figures["regret_random"]


@pytest.mark.full
@pytest.mark.skipif(not TABLE.exists(), reason=f"the table of learning runs is not at {TABLE}")
def test_borrowing_across_edits_is_measured_beside_beginning_anew():
    figures, _ = bench("simulate", "codes", "--repetitions", "4", "--table", str(TABLE))
    assert all(figures[f"gain_{name}"] > 0 for name in ("borrowing", "anew"))
    assert 0 <= figures["borrowing_not_worse_share"] <= 1


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


@pytest.mark.full
@pytest.mark.parametrize("where", [(), ("--cluster",)])
def test_nothing_is_lost_whatever_dies(where):
    figures, _ = bench("chaos", "--kills", "4", "--seed", "2", *where)
    assert (figures["kills"], sum(figures["of_each"].values())) == (4, 4)
    assert [figures[name] for name in ("violations", "orphans", "lost_trials", "duplicate_rows")] == [0, 0, 0, 0]


def test_what_is_lost_or_there_twice_is_seen(fast_repository, demo, monkeypatch):
    monkeypatch.setattr(chaos, "TAG", "t")
    with coordinator_of(fast_repository, demo, limit=2) as coordinator:
        run_all(coordinator, setup_of(fast_repository, demo))
    run = fast_repository / "runs/t"
    summarise(sorted(run.glob("gpu*/results.tsv")), run, History(Repository(fast_repository)))
    (fast_repository.parent / "output.log").write_text("search t: 4 slots\n")
    seen = chaos.Chaos(fast_repository, demo, random.Random(0), demo / "agent.py", {})
    assert seen.check_records() == (0, 0) and seen.violations == []
    trials, results = (run / "trials.jsonl").read_text(), (run / "results.tsv").read_text()
    (run / "trials.jsonl").write_text("".join(trials.splitlines(keepends=True)[:-1]))
    assert seen.check_records() == (1, 0)
    (run / "trials.jsonl").write_text(trials)
    (run / "results.tsv").write_text(results + results.splitlines(keepends=True)[-1])
    assert seen.check_records() == (0, 1)
    (run / "results.tsv").write_text(results)
    (fast_repository.parent / "output.log").write_text("Traceback (most recent call last)")
    before = len(seen.violations)
    seen.check_records()
    assert any("Traceback" in violation for violation in seen.violations[before:])
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    seen.below = {child.pid: started_at(child.pid)}
    assert seen.still_alive() == [child.pid]
    child.kill()
    child.wait()
    assert seen.still_alive() == []


def test_a_missing_table_is_one_clear_line():
    done = subprocess.run(
        [sys.executable, "bench/simulate.py", "tables", "--table", "/nowhere"],
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


PEER = """import sys, time
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
assert given["--batch-size"] == "4" and given["--arch"] == "lite"
for batch in range(0, 100, int(given["--log-every"])):
    print(f"\\tEpoch 0 | Batch {batch} | Loss 1.0", flush=True)
    time.sleep(0.02)
print("Stopped: max train time", flush=True)
time.sleep(600)
"""


@pytest.mark.full
def test_the_speed_of_a_trial_is_measured_beside_the_bare_step_and_another_script(tmp_path):
    (tmp_path / "train.py").write_text(PEER)
    figures, printed = bench(
        "throughput", "--arch", "lite", "--seconds", "2", "--repetitions", "1", "--peer", str(tmp_path)
    )
    assert len(printed) == 1
    assert figures["photos_per_s"] > 0 and 0 < figures["peer_photos_per_s"] <= 5 * 4 / 0.02
    assert figures["bare_step_ratio"] == pytest.approx(figures["photos_per_s"] / figures["bare_step_per_s"], rel=0.05)
    assert figures["ratio"] == pytest.approx(figures["photos_per_s"] / figures["peer_photos_per_s"], abs=0.02)


@pytest.mark.full
def test_the_gap_between_two_trials_is_measured_beside_that_of_the_plain_way():
    figures, _ = bench("gap", "--trials", "3", "--seconds", "1")
    assert figures["trials"] == 2 and figures["start_up_s"] > 0 and figures["start_up_plain_s"] > 0
    assert 0 < figures["handover_s"] < figures["median_gap_s"]
    assert figures["gap_ratio"] == pytest.approx(figures["median_gap_s"] / figures["median_gap_plain_s"], abs=0.02)
    assert figures["busy_at_30_s"] < figures["busy_at_300_s"] < 1


@pytest.mark.full
def test_the_page_costs_little_and_is_live_with_three_browsers():
    figures, _ = bench("page", "--experiments", "300", "--seconds", "12")
    assert figures["versions"] >= 2 and figures["browsers"] == 3
    assert 0 < figures["cpu_share"] < 0.2 and 0 < figures["largest_page_kb"] < 250
    assert figures["first_paint_ms"] is None or figures["first_paint_ms"] > 0


@pytest.mark.full
def test_what_taking_a_model_home_takes_is_measured():
    figures, _ = bench("take_home", "--photos", "150", "--image-size", "64", "--seconds", "1", "--repetitions", "1")
    assert figures["export_s"] > 0 and figures["start_up_s"] > 0 and figures["folder_mb"] > 10
    assert figures["photos_per_s"] > 0 and figures["network_alone_photos_per_s"] > 0
