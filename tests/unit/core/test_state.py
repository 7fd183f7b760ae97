"""The state of a search, rebuilt from its records."""

import json

from search.core.state import apply, rebuild, record_of, start_record
from tests.support.states import SETTINGS, outcome, started_baseline


def test_the_baseline_is_decided_when_all_its_seeds_are_there():
    state, works = started_baseline()
    apply(state, record_of("outcome", outcome(works[0], 0.9)))
    assert state.undecided() == []
    apply(state, record_of("outcome", outcome(works[1], None)))
    assert state.undecided() == [0]


def test_replaying_the_records_gives_the_same_state():
    state, works = started_baseline()
    records = [record_of("search", SETTINGS)]
    for work in works:
        if work.seed == 0:
            records.append(record_of("experiment", work.experiment))
        records += [start_record(work)]
    records.append(record_of("outcome", outcome(works[0], 0.9)))
    apply(state, records[-1])
    assert rebuild(json.loads(json.dumps(records))) == state
