"""The test on fresh seeds: how often it is wrong, what is recommended, and when its seeds run."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.core.seeds import PROOF_SEEDS, VERIFICATION_SEEDS, next_seed, purpose_of
from search.core.types import Experiment, Kind, Purpose, Status, Work
from search.decide.plan import Limit, Pause
from search.decide.proof import ALPHA, half_width, in_words, log_evidence, most_fresh, proofs, recommended
from tests.support.states import RACING, TASK, Search, begin

PROVING = replace(RACING, proof_share=0.1)


def test_no_seed_is_of_two_purposes():
    begun = set()
    for purpose in (Purpose.CONFIRM, Purpose.PROOF, Purpose.VERIFY) * 3:
        seed = next_seed(begun, 7, purpose)
        assert seed not in begun and purpose_of(seed, 7) == (None if purpose is Purpose.CONFIRM else purpose)
        begun.add(seed)
    first = [7, 7 + PROOF_SEEDS, 7 + VERIFICATION_SEEDS]
    assert sorted(begun) == sorted(seed + n for seed in first for n in range(3))


def looks(rng, gain, most):
    """The log of the evidence after each further pair of runs, of noise 1."""
    ours, theirs = rng.normal(gain, 1, most).cumsum(), rng.normal(0, 1, most).cumsum()
    counts = np.arange(1, most + 1)
    differences = (ours - theirs) / counts
    return [log_evidence(d, n / 2, (1.0, 0.5), 2.0) for d, n in zip(differences, counts, strict=True)]


@pytest.mark.parametrize("gain", [0.0, -0.5])
def test_where_there_is_no_gain_it_is_hardly_ever_said_however_often_one_looks(gain):
    rng = np.random.default_rng(0)
    wrong = sum(max(looks(rng, gain, 100)) > math.log(1 / ALPHA) for _ in range(400))
    assert wrong / 400 <= ALPHA + 2 * math.sqrt(ALPHA * (1 - ALPHA) / 400)


def test_a_true_gain_is_shown_with_few_seeds():
    rng = np.random.default_rng(0)
    shown = sum(max(looks(rng, 2.0, 12)) > math.log(1 / ALPHA) for _ in range(200))
    assert shown / 200 > 0.95


@given(st.floats(-5, 5), st.floats(0.1, 100), st.floats(-3, 3), st.floats(0.1, 3), st.floats(0.1, 3))
def test_the_evidence_is_the_integral_that_it_stands_for(difference, information, mean, deviation, wide):
    gains = (np.arange(200_000) + 0.5) * 0.0002
    ratio = gains * difference * information - gains**2 * information / 2
    parts = []
    for middle, spread in ((mean, deviation), (0.0, wide)):
        weights = np.exp(-0.5 * ((gains - middle) / spread) ** 2)
        parts.append(np.sum(weights / weights.sum() * np.exp(ratio - ratio.max())))
    wanted = ratio.max() + math.log(0.5 * sum(parts))
    assert log_evidence(difference, information, (mean, deviation), wide) == pytest.approx(wanted, abs=0.02)


def test_the_interval_holds_at_every_look():
    rng = np.random.default_rng(1)
    missed = 0
    for _ in range(300):
        means = rng.normal(0, 1, 100).cumsum() / np.arange(1, 101)  # of information n
        missed += any(abs(mean) > half_width(n, 2.0) for n, mean in enumerate(means, start=1))
    assert missed / 300 <= ALPHA + 2 * math.sqrt(ALPHA / 300)


def kept_search(score=0.97, settings=PROVING):
    search = Search(settings)
    search.first(1, score)
    search.again(1, 1, score)
    made = search.state
    search.decide(1, Status.KEEP)
    assert made.incumbent.experiment == 1
    return search


def fresh(search, number, scores, purpose=Purpose.PROOF, **more):
    for score in scores:
        search.again(number, search.state.next_seed(number, purpose), score, purpose, **more)


def test_without_a_proof_the_baseline_is_recommended():
    search = kept_search()
    found = recommended(search.state)
    assert found.is_baseline and found.proof is None
    assert in_words(found, search.state.incumbent, TASK) == (
        "take the baseline, base: the incumbent c1 is not shown to be better, since it has not been run with fresh "
        "seeds"
    )
    fresh(search, 0, [0.91, 0.90])
    fresh(search, 1, [0.91, 0.92])
    found = recommended(search.state)
    assert found.is_baseline and not found.proof.is_shown and found.proof.gain == pytest.approx(0.01)
    assert "is not shown to be better (bin_acc +0.0100, 95 % interval" in in_words(found, search.state.incumbent, TASK)


def test_what_fresh_seeds_show_is_recommended():
    search = kept_search()
    fresh(search, 0, [0.90, 0.91, 0.905])
    fresh(search, 1, [0.97, 0.96, 0.965])
    found = recommended(search.state)
    assert (found.experiment, found.proof.is_shown) == (1, True)
    assert found.proof.gain == pytest.approx(0.06) and found.proof.low < 0.06 < found.proof.high
    words = in_words(found, search.state.incumbent, TASK)
    assert words.startswith("take c1, which is better than the baseline (bin_acc +0.0600, 95 % interval")
    search.first(2, 0.99, parent="c1")
    search.decide(2, Status.KEEP, "c1")
    found = recommended(search.state)  # the incumbent after it is not tested yet
    assert found.experiment == 1 and "(the incumbent after it is not shown to be)" in in_words(
        found, search.state.incumbent, TASK
    )
    search.decide(2, Status.DISCARD, "c1")
    search.decide(1, Status.DISCARD)  # more seeds that it was judged by say otherwise
    assert recommended(search.state).is_baseline


def test_fresh_seeds_choose_nothing():
    search = kept_search()
    before = search.belief.lead(1, 0)
    fresh(search, 1, [0.5, 0.5])
    fresh(search, 0, [0.99, 0.99])
    assert search.belief.lead(1, 0) == before
    assert search.state.undecided() == [] and len(search.state.outcomes_of(1)) == 2


def test_fresh_seeds_on_different_kinds_of_slot_are_not_compared():
    search = kept_search()
    fresh(search, 0, [0.90, 0.90], machine="slow")
    fresh(search, 1, [0.99, 0.99], machine="fast")
    assert proofs(search.state)[0].p_value is None
    fresh(search, 0, [0.98, 0.985], machine="fast")
    one = proofs(search.state)[0]
    assert (one.seeds, one.baseline_seeds) == (2, 2) and one.gain == pytest.approx(0.0075)


def test_each_further_commit_that_is_tested_has_less_of_the_error():
    search = kept_search()
    for number in (2, 3):
        search.first(number, 0.97, parent="c1")
        search.decide(number, Status.KEEP, f"c{number - 1}")
    fresh(search, 0, [0.90, 0.91])
    for number in (1, 2, 3):
        fresh(search, number, [0.93, 0.94])
    values = [one.p_value for one in proofs(search.state)]
    assert values == sorted(values) and values[0] < values[1] < values[2]


def asked(search, limit):
    """The purposes and experiments of what a search runs until nothing fresh is due."""
    found = []
    while (work := search.ask(limit=limit)).purpose is Purpose.PROOF:
        found.append(work.experiment.number)
        search.run(work, 0.97 if work.experiment.number else 0.905)
    return found


def test_the_baseline_is_run_ahead_and_the_incumbent_when_the_search_is_nearly_over():
    search = kept_search(settings=replace(PROVING, proof_share=0.5))
    assert asked(search, Limit(8)) == [0]  # an eighth of the search
    assert asked(search, Limit(80)) == []
    for number in range(2, 5):
        search.first(number, 0.95, parent="c1")
        search.decide(number, Status.DISCARD, "c1")
    found = []
    while isinstance(work := search.ask(limit=Limit(4)), Work):
        found.append(work.experiment.number)
        search.run(work, 0.97 if work.experiment.number else 0.905)
    assert 1 in found and recommended(search.state).experiment == 1


def test_trials_that_are_kept_for_the_proof_do_not_wait_for_a_race():
    search = kept_search(settings=replace(PROVING, proof_share=0.5))
    search.first(2, 0.99, parent="c1")  # races with the incumbent
    begun = len(search.state.attempts)
    limits = [Limit(experiments=2), Limit(trials=4 * begun), Limit(trials=begun + 1)]
    race, early, late = [search.ask(limit=limit) for limit in limits]
    assert [race.purpose, early.purpose, late.purpose] == [Purpose.CONFIRM, Purpose.CONFIRM, Purpose.PROOF]
    assert "likely to be better than e0001; expected gain in bin_acc" in race.why
    assert late.why == "for the proof that e0001 is better than the baseline: nothing is chosen by it"


def test_trials_that_are_kept_for_the_proof_wait_for_those_that_may_replace_the_incumbent():
    search = kept_search(settings=replace(PROVING, proof_share=0.5))
    for number in range(2, 6):
        begin(search.state, Work(Experiment(number, Kind.SWEEP, "c1", (), f"idea {number}"), 0))
    begun = len(search.state.attempts)
    assert search.ask(limit=Limit(trials=begun + 7)) is Pause.WAIT
    assert search.ask(limit=Limit(trials=begun + 8)).purpose is Purpose.PROOF


def test_a_search_without_an_end_proves_all_the_time_within_its_share():
    search = kept_search()
    for _ in range(40):
        work = search.ask(limit=Limit())
        if work.purpose is Purpose.PROOF:
            search.run(work, 0.97 if work.experiment.number else 0.905)
            continue
        search.first(search.state.next_experiment, 0.95, parent="c1")
        search.decide(search.state.next_experiment - 1, Status.DISCARD, "c1")
    runs = sum(len(seeds) for seeds in search.state.fresh.values())
    assert 0 < runs <= 0.1 * len(search.state.ended) + 1


@pytest.mark.parametrize(("size", "most"), [(6, 4), (60, 9), (96, 14), (5000, 14), (0, 14)])
def test_a_short_search_spends_few_seeds_on_its_proof(size, most):
    assert most_fresh(0.1, size) == most


def test_nothing_is_proven_under_the_bare_rule_or_without_a_share():
    for settings in (replace(PROVING, confirm_seeds=0), replace(PROVING, proof_share=0.0)):
        search = Search(settings)
        search.first(1, 0.99)
        search.decide(1, Status.KEEP)
        assert search.ask(limit=Limit(2)).purpose is Purpose.FIRST
