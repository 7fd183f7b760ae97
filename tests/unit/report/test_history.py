"""When rows were decided, by what is recorded."""

import json

from search.records.results_tsv import HEADER
from search.report.history import History, Recorded, recorded
from search.report.summary import merged_rows
from tests.support.ledgers import A, B, C, write


def record_decisions(folder, *decided):
    """decisions.jsonl of rows with their times."""
    lines = [
        json.dumps({"commit": row[:7] + "0" * 33, "description": row.split("\t")[5], "changes": [], "time": time})
        for row, time in decided
    ]
    (folder / "decisions.jsonl").write_text("".join(line + "\n" for line in lines))


def test_recorded_decision_times_order_slots_also_those_recorded_since(tmp_path):
    files = []
    for slot, lines in (("gpu0", [C]), ("gpu1", [A, B])):
        (tmp_path / slot).mkdir()
        files.append(write(tmp_path / slot / "results.tsv", HEADER, *lines))
    history = History(None)
    record_decisions(tmp_path, (A, 1.0))
    assert merged_rows(files, history)[0].commit == "d4e5f6g"  # without a time: behind nothing
    record_decisions(tmp_path, (A, 1.0), (C, 2.0), (B, 3.0))
    assert [row.commit for row in merged_rows(files, history)] == ["a1b2c3d", "d4e5f6g", "b2c3d4e"]


def test_records_of_another_shape_are_left_out():
    found = recorded(
        [{"commit": 3}, {}, "x", {"commit": "a", "description": "d", "changes": [], "time": "z"}], [7], [1]
    )
    assert found == Recorded()
