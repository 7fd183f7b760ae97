"""What is known of rows."""

from search.core.types import Change, Decision, Status
from search.records.ledgers import json_line
from search.report.history import History
from search.report.search_records import SearchRecords
from search.report.summary import merged_rows
from tests.support.ledgers import HEADER, A, B, C, write
from tests.support.states import TASK


def decision_of(row, number, time):
    commit, description = row[:7] + "0" * 33, row.split("\t")[5]
    made = Decision(number, Status.DISCARD, "", commit, 0, None, 0.0, description, "", None, (), (0,), time)
    return json_line(TASK, "decision", made)


def record_decisions(folder, *decided):
    """decisions.jsonl of rows with their times."""
    lines = [decision_of(row, number, time) for number, (row, time) in enumerate(decided)]
    (folder / "decisions.jsonl").write_text("".join(lines))


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


def test_lines_of_another_shape_are_left_out_and_new_ones_are_read_as_they_come(tmp_path):
    decisions = tmp_path / "decisions.jsonl"
    decisions.write_text('{"commit": 3}\n{}\n"x"\n[]\nnot json\n' + decision_of(A, 0, 1.0))
    records = SearchRecords(tmp_path)
    records.refresh()
    assert [decision.time for decision in records.decisions] == [1.0]
    with decisions.open("a") as stream:
        stream.write(decision_of(B, 1, 2.0) + decision_of(C, 2, 3.0)[:40])  # the last one is torn
    records.refresh()
    assert [decision.time for decision in records.decisions] == [1.0, 2.0]
    (tmp_path / "anew").write_text(decision_of(C, 0, 5.0))
    (tmp_path / "anew").rename(decisions)  # a resume has written it anew
    records.refresh()
    assert [decision.time for decision in records.decisions] == [5.0]


def test_what_a_search_recorded_is_not_added_to_from_git(tmp_path):
    """The baseline changed nothing, whatever its commit changed."""
    files = [write(tmp_path / "results.tsv", HEADER, A)]
    record_decisions(tmp_path, (A, 1.0))
    history = History(None)
    history._changes["a1b2c3d"] = (Change("lr", 0.1, 0.2),)  # as the user's last commit says
    assert history.entries(files)[0].changes == ()
    (tmp_path / "decisions.jsonl").write_text("")
    anew = History(None)
    anew._changes["a1b2c3d"] = (Change("lr", 0.1, 0.2),)
    assert anew.entries(files)[0].changes == (Change("lr", 0.1, 0.2),)


def test_a_copy_that_comes_first_does_not_hide_what_is_known(tmp_path):
    for name in ("copy", "search"):
        (tmp_path / name).mkdir()
    files = [write(tmp_path / name / "results.tsv", HEADER, A) for name in ("copy", "search")]
    (tmp_path / "search/decisions.jsonl").write_text(
        decision_of(A, 0, 1.0).replace('"metrics": {}', '"metrics": {"auroc": 0.7}')
    )
    (entry,) = History(None).entries(files)
    assert entry.evidence.rates == {"auroc": 0.7}
