"""What comes next, as a person is told of it: it is what the slots then get."""

from dataclasses import replace

from search.core.events import ProposalRecorded, SlotJoined
from search.core.state import State
from search.core.types import Slot
from search.decide.loop import SearchLoop
from search.decide.plan import Limit
from tests.support.states import RACING, SETTINGS, Search, begin, lost, proposal, started


def coming(search, **limit):
    loop = SearchLoop(search.state, search.belief.sources, search.state.apply)
    loop.limit = Limit(**limit)
    return loop.coming()


def whats(search, **limit):
    return [one["what"] for one in coming(search, **limit)]


def test_the_baseline_comes_first():
    search = Search()
    search.state = State(SETTINGS)
    assert whats(search) == ["the seeds of the baseline"]


def test_what_comes_is_what_slots_are_then_given():
    search = Search()
    search.apply(SlotJoined(Slot(0, "a", "a", "0")))
    search.first(1, 0.97)
    first, *rest = coming(search, experiments=99)
    assert first["what"] == "a further seed of e0001" and "e0001 is" in first["why"] and "likely" in first["why"]
    assert [one["what"] for one in rest] == ["new points around e0000"]
    for slot in (0, 1):
        work = search.ask(slot=slot)
        assert work.experiment.number == 1 and work.why == first["why"]
        search.state.apply(started(work))
    assert whats(search, experiments=99) == ["new points around e0000"]  # what the race needs runs
    assert search.ask(slot=2).experiment.number == 2


def test_lost_runs_and_proposals_come_before_new_points():
    search = Search()
    begin(search.state, search.ask())
    lost(search.state, 1, 0)
    for number in range(1, 12):
        search.apply(ProposalRecorded(proposal(number)))
    found = coming(search)
    assert found[0] == {"what": "e0001 again, with seed 0", "why": "its run was lost"}
    assert found[1] == {"what": "idea 1", "why": "proposal 1, by tool"}
    assert len(found) == 7 and found[-1]["what"] == "new points around e0000"  # the rest is left out


def test_a_limit_ends_what_comes_but_for_the_proof():
    search = Search(replace(RACING, proof_share=0.5))
    assert whats(search, experiments=0) == []
    assert whats(search, trials=4) == ["fresh seeds of the incumbent and of the baseline"]
    assert whats(search, verify=2) == ["fresh seeds of the recommended commit and of the baseline"]
