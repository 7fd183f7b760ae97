"""What the table of experiments is asked for by an address, and what it shows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.web.export import MOST_ROWS, rows_to_send
from search.web.pages.experiments import COLUMNS, STATUSES, Query, is_wanted, patch_lines

ROW = {"number": 12, "commit": "abc1234", "description": "lr 0.01 -> 0.1", "reason": "worse", "status": "discard"}


@given(st.dictionaries(st.sampled_from(["text", "status", "order", "page", "evil"]), st.text()))
def test_any_address_asks_for_something(given_):
    query = Query.of(given_)
    assert query.page >= 1 and query.order.removeprefix("-") in COLUMNS
    assert query.status in ("", *STATUSES) and len(query.text) <= 200
    assert query.address(page=3).startswith("/experiments?") and "\n" not in query.address()


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        (Query(), True),
        (Query(text="lr 0.1"), True),
        (Query(text="LR ABC"), True),
        (Query(text="12"), True),
        (Query(text="width"), False),
        (Query(status="discard"), True),
        (Query(status="keep"), False),
    ],
)
def test_words_and_status_filter(query, wanted):
    assert is_wanted(ROW, query) is wanted


def test_a_patch_is_told_line_by_line():
    patch = "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n same\n-old\n+new"
    assert patch_lines(patch) == [("place", "@@ -1,2 +1,2 @@"), ("same", " same"), ("cut", "-old"), ("add", "+new")]
    assert patch_lines("") == []


def test_of_many_rows_those_are_sent_that_say_most():
    rows = [{"number": n, "status": "keep" if n % 1000 == 0 else "discard", "value": -n} for n in range(3 * MOST_ROWS)]
    sent = rows_to_send(rows)
    numbers = [row["number"] for row in sent]
    assert len(sent) == MOST_ROWS and numbers == sorted(numbers)
    assert {0, 1000, 5000} <= set(numbers)  # kept
    assert set(range(100)) <= set(numbers)  # the best
    assert rows[-1] in sent  # the latest
    assert rows_to_send(rows[:5]) == rows[:5]
