"""results.tsv as a night may leave it: cut off anywhere, in parts, in any order, with rows that are there twice."""

from hypothesis import given
from hypothesis import strategies as st

from search.records.results_tsv import merge, read_rows, render
from tests.support.ledgers import rows
from tests.support.states import TASK

ROWS = st.lists(
    rows(
        st.text("0123456789abcdef", min_size=7, max_size=7),
        st.text("ab →é😀", max_size=9).map(lambda words: " ".join(words.split())),
    ),
    unique_by=lambda row: row.commit,
    max_size=6,
)


@given(ROWS, st.integers(0, 2000))
def test_a_file_that_is_cut_off_anywhere_gives_the_rows_before(tmp_path_factory, written, at):
    path = tmp_path_factory.mktemp("torn") / "results.tsv"
    whole = render(written, TASK).encode()
    cut = whole[: at % (len(whole) + 1)]
    path.write_bytes(cut)
    found = [placed.row for placed in read_rows(path, TASK)]
    finished = max(cut.count(b"\n") - 1, 0)
    assert found[:finished] == written[:finished] and len(found) <= finished + 1
    if len(found) > finished:  # the last one had its numbers and its status
        last, meant = found[-1], written[finished]
        assert (last.commit, last.score, last.status) == (meant.commit, meant.score, meant.status)
        assert meant.description.startswith(last.description)


@given(ROWS, st.lists(st.integers(0, 3), min_size=6, max_size=6), st.lists(st.integers(0, 5), max_size=4), st.randoms())
def test_rows_in_any_number_of_files_and_some_of_them_twice_are_one_history(
    tmp_path_factory, written, files, twice, shuffle
):
    folder, times = tmp_path_factory.mktemp("parts"), {row.commit: n for n, row in enumerate(written)}
    parts = {number: [] for number in files}
    for row, number in zip(written, files, strict=False):
        parts[number].append(row)
    for index in twice:
        if index < len(written):
            parts[files[-1 - index]].append(written[index])
    for number, part in parts.items():
        part.sort(key=lambda row: times[row.commit])
        (folder / f"{number}.tsv").write_text(render(part, TASK))
    paths = sorted(folder.iterdir())
    shuffle.shuffle(paths)
    assert [placed.row for placed in merge(paths, TASK, lambda row, _: float(times[row.commit]))] == written
