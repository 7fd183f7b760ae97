"""At every moment of a search, every view of it names the same incumbent, and counts agree.

Random histories go through the product's own loop: seeds that come late, incumbents that are replaced and that fall,
ties, crashes, two kinds of slot, and fresh seeds.
"""

import tempfile
from dataclasses import replace
from pathlib import Path
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from bench.simulation.search import Conditions, Simulation
from bench.simulation.worlds import Effects, EffectsWorld
from search.core.events import CrashRechecked, Decided, SlotPutAside, TrialEnded
from search.core.paths import SearchPaths
from search.core.task import Score
from search.core.types import Status, short
from search.decide import races
from search.decide.plan import Limit
from search.records.ledgers import Ledgers
from search.records.results_tsv import read_rows
from search.report.frontier import analyse, steps
from search.report.history import History
from search.report.snapshot import view_of
from tests.support.states import TASK

WORLDS = st.builds(Effects, st.sampled_from([0.0, 0.3]), st.just(0.03), st.just(-0.03))
CONDITIONS = st.builds(
    Conditions,
    slots=st.integers(1, 5),
    limit=st.builds(Limit, st.integers(4, 14)),
    confirm_seeds=st.integers(0, 2),
    proof_share=st.sampled_from([0.0, 0.2]),
    kinds=st.integers(1, 2),
    slow=st.integers(0, 1),
    crash_share=st.sampled_from([0.0, 0.2]),
    per_round=st.just(3),
)


class Watched(Simulation):
    """Writes the ledgers as the coordinator does, and looks at all views after every decision."""

    def __init__(self, world, conditions, seed, folder):
        self.paths = SearchPaths(folder / "runs/t")
        self.ledgers, self.history, self.checked = Ledgers(self.paths), History(None), 0
        super().__init__(world, conditions, seed)
        self.ledgers.write_all(self.state)

    def record(self, event):
        super().record(event)
        if isinstance(event, TrialEnded):
            self.ledgers.add_outcome(self.state, event.outcome)
        if isinstance(event, Decided):
            self.ledgers.add_decision(self.state, event.decision)
        if isinstance(event, CrashRechecked | SlotPutAside):
            self.ledgers.write_all(self.state, replaced=True)
        if self.state.decisions and isinstance(event, Decided | TrialEnded):
            self.check()

    def _outcome(self, work, slot):
        outcome = super()._outcome(work, slot)
        if outcome.score is None:
            return outcome
        return replace(outcome, score=Score(round(outcome.score.primary, 2), outcome.score.secondary))  # ties

    def check(self):
        self.checked += 1
        state, commit = self.state, short(self.state.incumbent_commit)
        rows = [one.row for one in read_rows(self.paths.results, TASK)]
        assert [row.commit for row in rows if row.status is Status.KEEP][-1] == commit
        view = view_of(state)
        assert view["frontier"][-1]["commit"] == commit
        entries = self.history.entries([self.paths.results])
        found = analyse(entries, TASK, self.history.facts)
        assert found["current_best"]["commit"] == commit == found["frontier"][-1]["commit"]
        drawn = [step.row.commit for step in steps(entries) if step.is_incumbent]  # as progress.png has it
        frontier = [short(one.commit) for one in state.frontier]
        assert drawn == frontier == [one["commit"] for one in found["frontier"]]
        assert frontier == [one["commit"] for one in view["frontier"]]
        counts = {str(status): state.counts[status] for status in Status}
        assert {name: found["counts"][name] for name in counts} == counts == {n: view["counts"][n] for n in counts}
        assert counts["keep"] == len(frontier)
        shown = {one["commit"]: one["bin_acc"] for one in view["frontier"]}
        assert {row.commit: row.primary for row in rows if row.commit in shown} == shown
        fallen = {one["commit"] for one in found["fallen"]}
        assert {short(one.commit) for one in state.kept} == {*frontier, *fallen}
        assert all(one["reason"] for one in found["fallen"])
        assert found["recommended"] == view["recommended"]
        assert found["recommended"]["commit"] in (*frontier, frontier[0])


@given(WORLDS, CONDITIONS, st.integers(0, 10_000), st.sampled_from([races.EQUAL_DOUBT, 0.9]))
@settings(max_examples=10)
def test_every_view_names_the_same_incumbent(effects, conditions, seed, equal_doubt):
    """equal_doubt: with a high one, simpler ones are kept whose mean is lower."""
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(races, "EQUAL_DOUBT", equal_doubt):
        watched = Watched(EffectsWorld(effects, 0.02, seed), conditions, seed, Path(folder))
        watched.run()
        assert watched.checked >= conditions.limit.experiments
