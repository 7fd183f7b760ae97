"""What a person is shown: lines, tables and verdicts."""

import io

import pytest
from rich.console import Console

from search.core.types import Status
from search.driver.live import FollowedLog
from search.records.results_tsv import Row
from search.report.frontier import analyse, verdict
from search.report.summary import MOST_LABELS, labels_of_kept
from search.report.table import plain_line, rendered

HERE = {"node": "a", "gpu": "0", "model": "T4", "left": False}
BUSY = HERE | {
    "slot": 0,
    "trial": "e0003-s0",
    "description": "lr 0.1 -> [0.2]",
    "commit": "abc1234",
    "training_seconds": 33.0,
    "budget_seconds": 300.0,
    "loss": "0.41",
}
SHOWN = {
    "tag": "nov23",
    "running": True,
    "paused": True,
    "proposals": {"refused": 1, "waiting": 0, "tried": 2, "agent_thinks": "claude"},
    "slots": [
        BUSY,
        BUSY | {"slot": 1, "training_seconds": None, "loss": None},
        HERE | {"slot": 2, "trial": None},
        BUSY | {"slot": 3, "node": "b", "gpu": "7", "model": None, "left": True},
    ],
    "counts": {"experiments": 14, "keep": 3, "discard": 10, "crash": 1},
    "experiments_per_hour": 41.3,
    "share_of_time_training": 0.93,
    "frontier": [{"commit": "abc1234", "bin_acc": 0.95, "mc_acc": 0.5, "description": "lr 0.1 -> [0.2]"}],
}


def test_one_line_tells_all_where_there_is_no_terminal():
    assert plain_line(SHOWN) == (
        "14 experiments, 3 kept, 1 crashed, 41 per hour, best bin_acc 0.9500 | gpu0 e0003-s0 33 / 300 s loss 0.41 | "
        "gpu1 e0003-s0 starting | gpu2 idle | gpu3 left"
    )


def test_the_table_shows_every_slot_the_frontier_and_the_dashboard():
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(rendered(SHOWN, "http://127.0.0.1:8265"))
    text = console.export_text()
    for words in (
        "gpu0",
        "33 / 300 s",
        "starting",
        "idle",
        "a:0 T4",
        "b:7",
        "left",
        "lr 0.1 -> [0.2]",
        "abc1234",
        "93%",
        "127.0.0.1:8265",
        "paused",
        "2 tried, 0 waiting, 1 refused; claude thinks",
    ):
        assert words in text


def rows(best, status="keep"):
    return [
        Row("a", 0.5, 0.90, 0.1, Status.KEEP, "baseline"),
        Row("b", 0.5, best, 0.1, Status(status), "lr"),
    ]


@pytest.mark.parametrize(
    ("found", "majority", "words"),
    [
        (rows(0.95), 0.92, "the frontier beats the baseline (bin_acc 0.9500 against 0.9000"),
        (rows(0.95), 0.92, "and beats always giving the majority's answer (0.9200)"),
        (rows(0.92), 0.92, "and does NOT beat always giving the majority's answer"),
        (rows(0.80, "discard"), 0.92, "does NOT beat the baseline"),
        (rows(0.95), None, "against 0.5000)"),
        ([], 0.92, "no baseline yet"),
    ],
)
def test_the_verdict_says_what_the_frontier_beats(found, majority, words):
    assert words in verdict(analyse(found, {}, majority=majority))


def test_the_labels_of_a_long_frontier_are_its_latest():
    kept = [Row(f"{n:07x}", 0.5, 0.9 + n / 1000, 0.1, Status.KEEP, f"idea {n} at $5 " + "x " * 200) for n in range(20)]
    text = labels_of_kept(kept)
    assert text.startswith(f"… {20 - MOST_LABELS} more before these")
    assert "19  0.9190  idea 19 at \\$5" in text
    assert len(text.splitlines()) <= 1 + 3 * MOST_LABELS
    assert labels_of_kept([]) == ""


def test_the_verdict_tells_the_mean_over_seeds():
    analysis = analyse(rows(0.95), {}, majority=0.92)
    assert verdict(analysis, [0.95, 0.91]).endswith("over 2 seeds its bin_acc is 0.9300")


def test_a_followed_log_gives_whole_lines_once(tmp_path):
    path, log = tmp_path / "run.log", FollowedLog("gpu0")
    assert log.new_lines(path) == []
    path.write_bytes(b"step 1\nste")
    assert log.new_lines(path) == ["gpu0 step 1"]
    with path.open("ab") as stream:
        stream.write("p 2 …\n".encode())
    assert log.new_lines(path) == ["gpu0 step 2 …"]
    assert log.new_lines(path) == []
