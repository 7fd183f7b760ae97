"""What a person is shown of a search that runs."""

import io

from rich.console import Console

from search.report.table import plain_line, rendered

HERE = {"node": "a", "gpu": "0", "model": "T4", "left": False}
BUSY = HERE | {
    "slot": 0,
    "trial": "e0003-s0",
    "doing": "training",
    "description": "lr 0.1 -> [0.2]",
    "commit": "abc1234",
    "training_seconds": 33.0,
    "evaluating_seconds": None,
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
        BUSY | {"slot": 1, "doing": "starting", "training_seconds": None, "loss": None},
        HERE | {"slot": 2, "trial": None, "doing": "idle"},
        BUSY | {"slot": 3, "node": "b", "gpu": "7", "model": None, "left": True, "doing": "left"},
    ],
    "counts": {"experiments": 14, "keep": 3, "discard": 10, "crash": 1},
    "experiments_per_hour": 41.3,
    "share_of_time_training": 0.93,
    "seconds_left": 11_100.0,
    "frontier": [
        {
            "commit": "abc1234",
            "score_in_words": "bin_acc 0.9500 mc_acc 0.5000",
            "rates_in_words": "",
            "description": "lr 0.1 -> [0.2]",
        }
    ],
    "recommended": {"words": "take the baseline, 1234567: nothing was kept"},
}


def test_one_line_tells_all_where_there_is_no_terminal():
    assert plain_line(SHOWN) == (
        "14 experiments, 3 kept, 1 crashed, 41 per hour, best bin_acc 0.9500 mc_acc 0.5000 | "
        "gpu0 e0003-s0 33 / 300 s loss 0.41 | "
        "gpu1 e0003-s0 starting | gpu2 idle | gpu3 left"
    )


def test_a_trial_that_evaluates_no_longer_counts_its_seconds():
    slot = BUSY | {"doing": "evaluating", "training_seconds": 300.2, "evaluating_seconds": 4.0}
    assert "gpu0 e0003-s0 evaluating loss 0.41" in plain_line(SHOWN | {"slots": [slot]})
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(rendered(SHOWN | {"slots": [slot]}))
    row = next(line for line in console.export_text().splitlines() if line.strip().startswith("gpu0"))
    assert "evaluating" in row and "█" * 8 in row and "300 s" not in row


def test_the_table_shows_every_slot_the_frontier_and_the_dashboard():
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(rendered(SHOWN, "http://127.0.0.1:8265", "http://127.0.0.1:8420/?token=x"))
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
        "Ray dashboard http://127.0.0.1:8265; its token: ray get-auth-token",
        "page http://127.0.0.1:8420/?token=x",
        "about 3 h 05 min left",
        "paused",
        "2 tried, 0 waiting, 1 refused; claude thinks",
        "recommended: take the baseline, 1234567: nothing was kept",
    ):
        assert words in text


def test_it_fits_eighty_columns_however_much_a_trial_tries():
    long = "lr 0.1 -> 0.2, weight_decay 0.01 -> 0.02, label_smoothing 0.05 -> 0.1, dropout 0.2 -> 0.3"
    slots = [BUSY | {"slot": number, "trial": f"e12{number:02}-s1000000", "description": long} for number in range(4)]
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(rendered(SHOWN | {"slots": slots}))
    rows = [line for line in console.export_text().splitlines() if line.strip().startswith("gpu")]
    assert len(rows) == 4 and all(len(row) <= 80 and "33 / 300 s" in row and "█" in row for row in rows)
    assert all("lr 0.1" in row and "…" in row for row in rows)
