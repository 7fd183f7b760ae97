"""Metrics, intervals, probabilities: against their definitions, on cases with a known answer."""

import json
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import prepare
from search.core.types import Status
from search.decide.speed import calibration, from_footer, slow_note, unequal_note
from search.records.results_tsv import Row
from search.report.evidence import Evidence, add_evidence, believed, probability_better
from search.report.frontier import analyse
from search.report.test_set import permutation_p, smallest_gain
from search.system.gpus import GpuWatch
from search.task.screening import aurocs, average_precisions, is_degenerate, mean_metrics, screen, wilson
from search.trial.scorer import Labels, Scorer

LABELS = np.array([0, 1, 2, 3, 4] * 12)


def probabilities_of(chosen):
    return np.eye(5)[chosen] * 0.9 + 0.02


def test_a_perfect_and_a_blind_model():
    perfect = screen(probabilities_of(LABELS), LABELS)
    assert perfect["sensitivity"][0] == perfect["specificity"][0] == perfect["auroc"][0] == 1.0
    assert perfect["confusion"] == (np.eye(5, dtype=int) * 12).tolist()
    assert not is_degenerate(perfect)
    blind = screen(probabilities_of(np.zeros_like(LABELS)), LABELS)
    assert (blind["sensitivity"][0], blind["specificity"][0], blind["balanced_accuracy"][0]) == (0.0, 1.0, 0.5)
    assert blind["auroc"][0] == 0.5 and blind["average_precision"][0] == pytest.approx(0.2)
    assert blind["not_infected_share"] == 0.8
    assert is_degenerate(blind)
    assert is_degenerate(screen(probabilities_of(np.full_like(LABELS, 4)), LABELS))
    json.dumps(perfect)


def test_without_infected_photos_what_cannot_be_told_is_none():
    found = screen(probabilities_of(np.zeros(10, int)), np.zeros(10, int))
    assert found["sensitivity"] is found["auroc"] is found["average_precision"] is found["balanced_accuracy"] is None


def test_wilsons_interval_is_the_textbooks():
    assert wilson(8, 10) == pytest.approx([0.8, 0.490162, 0.943318], abs=1e-5)
    assert wilson(0, 10)[1] == 0.0
    assert wilson(0, 0) is None


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=30))
def test_the_curves_are_what_their_definitions_say(pairs):
    risk, infected = np.array([r / 5 for r, _ in pairs]), np.array([i for _, i in pairs])
    once = np.ones((1, len(pairs)))
    positive, negative = risk[infected], risk[~infected]
    area = aurocs(risk, infected, once)[0]
    if len(positive) and len(negative):
        wins = [(p > n) + 0.5 * (p == n) for p in positive for n in negative]
        assert area == pytest.approx(np.mean(wins))
    else:
        assert np.isnan(area)
    if len(positive):
        precision = [infected[risk >= p].mean() for p in positive]
        assert average_precisions(risk, infected, once)[0] == pytest.approx(np.mean(precision))


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(60):
        labels = np.where(rng.random(200) < 0.3, 4, 0)
        risk = rng.normal(labels / 4.0, 1.0)
        given_risk = 1 / (1 + np.exp(-risk))
        probabilities = np.stack([1 - given_risk, *[np.zeros(200)] * 3, given_risk], 1)
        low, high = screen(probabilities, labels)["auroc"][1:]
        inside += low <= 0.76025 <= high  # of two normals, one standard deviation apart
    assert inside >= 50


def test_means_over_seeds_are_of_what_every_seed_has():
    assert mean_metrics([{"auroc": [0.8, 0.7, 0.9]}, {"auroc": [0.6, 0.5, 0.7]}]) == {"auroc": 0.7}
    assert mean_metrics([{"auroc": [0.8, 0.7, 0.9]}, {"auroc": None}]) == {}


def bits(right):
    return np.packbits(np.array(right, bool)).tobytes().hex()


def test_probabilities_are_paired_over_photos_and_seeds():
    rng = np.random.default_rng(0)
    base = rng.random((3, 100)) < 0.9
    better = base | (rng.random((3, 100)) < 0.5)
    sides = [{seed: bits(right) for seed, right in enumerate(side)} for side in (base, better)]
    assert probability_better(sides[1], sides[0], 100) > 0.95
    assert probability_better(sides[0], sides[1], 100) < 0.05
    assert probability_better(sides[0], sides[0], 100) == 0.5
    assert probability_better(sides[0], {}, 100) is None
    other_seeds = {seed + 10: right for seed, right in sides[0].items()}
    assert 0.9 < probability_better(sides[1], other_seeds, 100) <= 1


def row(commit, bin_acc, status):
    return Row(commit, 0.5, bin_acc, 0.0, status, f"idea {commit}")


def test_a_summary_says_what_is_known_of_each_row():
    rows = [row("a" * 7, 0.90, Status.KEEP), row("b" * 7, 0.905, Status.KEEP)]
    known = {
        rows[0].key: Evidence({0: 0.9, 1: 0.9}, {0: bits([1] * 90 + [0] * 10)}, 0.9, {"sensitivity": 0.5}),
        rows[1].key: Evidence({0: 0.9, 1: 0.91}, {0: bits([1] * 91 + [0] * 9)}, 0.902, {"sensitivity": 0.6}),
    }
    found = add_evidence(analyse(rows, {}, 0.01, 0.9), known, 100, None)
    step = found["frontier"][1]
    assert (step["seeds"], step["estimate_bin_acc"], step["sensitivity"], step["specificity"]) == (2, 0.902, 0.6, None)
    assert step["gain_below_noise"] and step["gain_below_one_photo"]
    assert 0.5 < step["probability_better"] < 1
    assert "sens 0.60" in believed(step) and "gain below one photo" in believed(step)
    unknown = add_evidence(analyse(rows, {}), {}, None, {"opened": "today"})
    assert unknown["frontier"][1]["seeds"] is None and believed(unknown["frontier"][1]) == ""
    assert unknown["test_opened"] == {"opened": "today"}


def test_the_paired_test_finds_a_gain_and_none_where_there_is_none():
    assert permutation_p(np.array([1.0] * 20 + [0.0] * 80)) < 0.001
    assert permutation_p(np.zeros(100)) == 1.0
    assert permutation_p(np.array([1.0, -1.0] * 10)) > 0.5
    assert smallest_gain(np.array([1.0, -1.0] * 200), 0.9) == pytest.approx(2.8016 / 20, rel=1e-3)


# --- the scorer's socket ---


def test_the_first_submission_counts_and_the_second_is_counted(monkeypatch):
    labels = Labels(LABELS, LABELS[:20])
    good = probabilities_of(np.concatenate([LABELS, LABELS[:20]])).astype("<f4")
    with Scorer(labels) as scorer:
        monkeypatch.setenv(prepare.SCORER_VARIABLE, str(scorer.descriptor))
        trial = prepare._Scorer.of_this_trial()
        trial.ask({"event": "evaluating", "probe": 3.0})
        bad = probabilities_of(np.zeros(len(good), int)).astype("<f4")
        first = trial.ask({"event": "submit", "shape": list(bad.shape)}, bad.tobytes())
        second = trial.ask({"event": "submit", "shape": list(good.shape)}, good.tobytes())
    assert first == second == {"mc_acc": 0.2, "bin_acc": 0.8}
    assert (scorer.times, scorer.probe) == (2, 3.0)
    assert scorer.submission.test.shape == (20, 5)


@pytest.mark.parametrize(
    "sent",
    [b"nonsense\n", b"[1]\n", b'{"event": "other"}\n', b'{"event": "submit"}\n', b"x" * 20_000, b"", b"\xff\xfe\n"],
)
def test_what_is_no_message_ends_the_talk_and_nothing_else(sent):
    before = threading.active_count()
    with Scorer(Labels(LABELS, LABELS)) as scorer:
        scorer._theirs.sendall(sent)
    assert scorer.submission is None
    assert threading.active_count() <= before


# --- speed ---


class Nvml:
    """A card as NVML tells of one."""

    NVML_CLOCK_SM = 1

    def __init__(self):
        self.energy = 1000.0

    def nvmlInit(self): ...

    def nvmlDeviceGetHandleByIndex(self, index):
        return index

    nvmlDeviceGetHandleByUUID = nvmlDeviceGetHandleByIndex

    def nvmlDeviceGetName(self, handle):
        return "card"

    def nvmlDeviceGetMemoryInfo(self, handle):
        return type("Memory", (), {"used": 3 * 2**20})

    def nvmlDeviceGetComputeRunningProcesses(self, handle):
        return [1]

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):
        self.energy += 2000
        return self.energy

    def nvmlDeviceGetClockInfo(self, handle, kind):
        return 1500

    def nvmlDeviceGetPowerUsage(self, handle):
        return 250_000

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle):
        return 0x40


def test_a_card_is_watched_while_a_trial_runs(monkeypatch):
    monkeypatch.setattr("search.system.gpus.SAMPLE_SECONDS", 0.01)
    with GpuWatch("0", Nvml()) as watch:
        while len(watch._throttled) < 3:
            pass
    assert watch.seen == {
        "memory_before_mb": 3.0,
        "other_processes": 1,
        "clock_mhz": 1500.0,
        "power_w": 250.0,
        "throttled_share": 1.0,
        "energy_j": 2.0,
    }


def test_without_a_card_there_is_nothing_to_tell():
    class NoDriver:
        def nvmlInit(self):
            raise OSError("no driver")

    with GpuWatch("0", NoDriver()) as watch:
        pass
    assert watch.seen == {}


def test_slots_of_unequal_speed_are_told():
    assert unequal_note({0: 100.0, 1: 95.0, 2: 60.0}) == "slots of unequal speed, beside the fastest: gpu2 60%"
    assert unequal_note({0: 100.0, 1: 90.0}) == unequal_note({}) == unequal_note({0: 0.0}) == ""


def test_a_slow_slot_is_told():
    assert slow_note(60.0, calibration([100.0, 110.0, 90.0])) == "its slot ran at 60% of its usual speed"
    assert slow_note(80.0, calibration([100.0, 100.0])) == ""
    assert slow_note(None, 100.0) == slow_note(10.0, calibration([100.0])) == ""
    assert from_footer({"steps": "12", "photos_per_second": "fast"}) == {"steps": 12.0}
