"""What a search costs."""

from search.core.seeds import PROOF_SEEDS, VERIFICATION_SEEDS
from search.core.task import Score
from search.core.types import Cost, Decision, Outcome, Status
from search.report.costs import Records, cost_lines, costs_of
from search.report.proposals import proposals_of
from tests.support.states import proposal


def test_costs_are_told_for_sweep_and_agent_apart():
    def trial(experiment, commit, hours):
        score = Score(0.9, 0.5)
        speed = {"energy_j": 3.6e6}
        made = Outcome("t", experiment, 0, 0, commit, score, began=0.0, ended=hours * 3600, speed=speed)
        return made

    def decided(experiment, commit, status, edit=None):
        made = Decision(experiment, status, "r", commit, 0, None, 0, "", "", None, (), (0,), 1.0, proposal=edit)
        return made

    cost = Cost(30.0, 1, 4, 1000, 100, 0.5)
    edits = [proposal(1, cost=cost), proposal(2, commit="", refused="no", cost=Cost(10.0)), proposal(3)]
    records = Records(
        [trial(0, "c0", 1), trial(1, "c1", 2), trial(2, "p1", 1), trial(2, "p1", 1)],
        [decided(0, "c0", Status.KEEP), decided(1, "c1", Status.KEEP), decided(2, "p1", Status.KEEP, 1)],
        edits,
        price=2.0,
    )
    costs = costs_of(records)
    assert (costs["baseline"]["gpu_hours"], costs["sweep"]["gpu_hours"], costs["agent"]["gpu_hours"]) == (1, 2, 2)
    assert (costs["sweep"]["dollars"], costs["sweep"]["dollars_per_kept_step"]) == (4.0, 4.0)
    assert (costs["agent"]["model_dollars"], costs["agent"]["dollars_per_kept_step"]) == (0.5, 4.5)
    assert (costs["agent"]["seconds"], costs["agent"]["turns"], costs["agent"]["refused"]) == (40.0, 4, 1)
    assert costs["agent"]["energy_kwh"] == 2.0
    assert [one["status"] for one in proposals_of(records)] == ["keep", "refused", "waiting"]
    assert costs["proof"]["trials"] == 0
    free = costs_of(Records(records.outcomes, records.decisions, ()))
    assert free["sweep"]["dollars"] is None and free["sweep"]["dollars_per_kept_step"] is None


def test_fresh_seeds_count_as_the_proofs_whatever_they_are_seeds_of():
    def trial(experiment, seed):
        return Outcome("t", experiment, seed, 0, f"c{experiment}", Score(0.9, 0.5), began=0.0, ended=3600.0)

    runs = [trial(0, 7), trial(1, 7), trial(0, 7 + PROOF_SEEDS), trial(1, 7 + VERIFICATION_SEEDS)]
    costs = costs_of(Records(runs, (), (), seed=7))
    assert {name: one["trials"] for name, one in costs.items()} == {"baseline": 1, "sweep": 1, "agent": 0, "proof": 2}
    assert "- proof: 2 trials, 2.00 GPU-hours" in cost_lines(costs)
