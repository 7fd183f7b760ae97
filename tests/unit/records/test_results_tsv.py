"""results.tsv: read, written, merged."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.core.types import Status
from search.records.results_tsv import LedgerError, merge, read_rows, render
from tests.support.ledgers import HEADER, A, B, C, rows, write
from tests.support.states import TASK

ANY_ROW = rows(
    st.text("0123456789abcdef", min_size=4, max_size=12), st.text(st.characters(blacklist_categories=("C", "Z")))
)


@given(st.lists(ANY_ROW))
def test_what_is_written_is_read(tmp_path_factory, written):
    path = tmp_path_factory.mktemp("ledger") / "results.tsv"
    path.write_text(render(written, TASK))
    assert [placed.row for placed in read_rows(path, TASK)] == written


def test_other_peoples_files(tmp_path):
    path = write(tmp_path / "results.tsv", HEADER, A, "", B, C, end="\r\n")
    found = [placed.row for placed in read_rows(path, TASK)]
    assert [row.status for row in found] == [Status.KEEP, Status.KEEP, Status.CRASH]
    assert [row.commit for row in found] == ["a1b2c3d", "b2c3d4e", "d4e5f6g"]
    assert found[1].description == "wider channels — bin_acc +8.5pp"


def test_a_torn_last_line_is_left_out_and_a_torn_middle_is_told(tmp_path):
    (tmp_path / "one.tsv").write_text(f"{HEADER}\n{A}\nb2c3d4e\t0.5")
    assert len(read_rows(tmp_path / "one.tsv", TASK)) == 1
    (tmp_path / "two.tsv").write_text(f"{HEADER}\nb2c3d4e\t0.5\n{A}\n")
    with pytest.raises(LedgerError, match=r"two.tsv:2: 2 columns"):
        read_rows(tmp_path / "two.tsv", TASK)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (A.replace("keep", "kept"), "status is 'kept'"),
        (A.replace("0.811000", "high"), "bin_acc is 'high'"),
        (A.replace("0.811000", "81.1"), "bin_acc is 81.1; out of its range"),
        (A.replace("0.811000", "nan"), "bin_acc is nan"),
        (A.replace("\t", ","), "1 columns"),
    ],
)
def test_a_bad_row_names_file_line_and_value(tmp_path, line, words):
    with pytest.raises(LedgerError, match=f"results.tsv:2: {words}"):
        read_rows(write(tmp_path / "results.tsv", HEADER, line), TASK)


def test_merging_orders_by_time_and_keeps_each_files_order(tmp_path):
    one = write(tmp_path / "1.tsv", HEADER, A, C)
    two = write(tmp_path / "2.tsv", HEADER, B)
    times = {"a1b2c3d": 1.0, "b2c3d4e": 2.0, "d4e5f6g": 3.0}
    order = [placed.row.commit for placed in merge([two, one], TASK, lambda row, _: times[row.commit])]
    assert order == ["a1b2c3d", "b2c3d4e", "d4e5f6g"]
    backwards = {"a1b2c3d": 9.0, "b2c3d4e": 2.0, "d4e5f6g": 3.0}  # a wrong clock must not reorder a file
    order = [placed.row.commit for placed in merge([one, two], TASK, lambda row, _: backwards[row.commit])]
    assert order.index("a1b2c3d") < order.index("d4e5f6g")


def test_exact_duplicates_are_dropped_and_contradictions_named(tmp_path):
    one = write(tmp_path / "1.tsv", HEADER, A, A)
    two = write(tmp_path / "2.tsv", HEADER, A.replace("0.811000", "0.812000"))
    assert len(merge([one], TASK, lambda *_: None)) == 1
    with pytest.raises(LedgerError, match=r"1.tsv:2 and .*2.tsv:2 contradict"):
        merge([one, two], TASK, lambda *_: None)
    other = write(tmp_path / "3.tsv", HEADER, A.replace("baseline", "again"))
    assert len(merge([one, other], TASK, lambda *_: None)) == 2


def test_hashes_of_any_length_and_case_name_one_commit(tmp_path):
    one = write(tmp_path / "1.tsv", HEADER, A)
    longer = write(tmp_path / "2.tsv", HEADER, A.replace("a1b2c3d", "A1B2C3D4E5"))
    assert [placed.row.commit for placed in merge([one, longer], TASK, lambda *_: None)] == ["a1b2c3d"]
    other = write(tmp_path / "3.tsv", HEADER, A.replace("a1b2c3d", "a1b2c3d4e5").replace("0.286", "0.287"))
    with pytest.raises(LedgerError, match=r"1.tsv:2 and .*3.tsv:2 contradict"):
        merge([one, other], TASK, lambda *_: None)
    apart = write(tmp_path / "4.tsv", HEADER, A.replace("a1b2c3d", "a1b2c3e"))
    assert len(merge([one, apart], TASK, lambda *_: None)) == 2


def test_a_row_without_a_description_may_have_lost_its_last_tab(tmp_path):
    found = read_rows(write(tmp_path / "results.tsv", HEADER, "a1b2c3d\t0.5\t0.6\t0.1\tkeep", B), TASK)
    assert [placed.row.description for placed in found] == ["", "wider channels — bin_acc +8.5pp"]


def test_a_whole_last_row_with_a_wrong_value_is_told_though_its_line_has_no_end(tmp_path):
    (tmp_path / "results.tsv").write_text(f"{HEADER}\n{A}\n{B.replace('0.896000', '89.6')}")
    with pytest.raises(LedgerError, match=r"results.tsv:3: bin_acc is 89.6"):
        read_rows(tmp_path / "results.tsv", TASK)
