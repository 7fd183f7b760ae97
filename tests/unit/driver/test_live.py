"""What a person sees while a search runs."""

import json
import re

from search.driver import live
from search.driver.live import FollowedLog, slots_by_doing
from tests.support.repositories import ROOT


def test_a_followed_log_gives_whole_lines_once(tmp_path):
    path = tmp_path / "run.log"
    log = FollowedLog("gpu0", path)
    assert log.new_lines() == []
    path.write_bytes(b"step 1\nste")
    assert log.new_lines() == ["gpu0 step 1"]
    with path.open("ab") as stream:
        stream.write("p 2 …\n".encode())
    assert log.new_lines() == ["gpu0 step 2 …"]
    assert log.new_lines() == []


def test_slots_are_counted_by_what_they_do():
    slots = [
        {"slot": number, "doing": doing}
        for number, doing in enumerate(("training", "starting", "idle", "left", "idle", "evaluating"))
    ]
    found = slots_by_doing({"slots": slots, "aside": [4]})
    assert found == {"training": 1, "evaluating": 1, "starting": 1, "idle": 1, "aside": 1}


def test_grafanas_board_asks_for_gauges_that_there_are(monkeypatch):
    made = []
    monkeypatch.setattr("ray.util.metrics.Gauge", lambda name, about, tags: made.append((f"ray_{name}", tags)))
    live.Gauges("bin_acc")
    board = json.loads((ROOT / "docs" / "grafana.json").read_text())
    asked = " ".join(target["expr"] for panel in board["panels"] for target in panel["targets"])
    assert all(name in asked or (name.startswith("ray_autoresearch_best_") and "best_.+" in asked) for name, _ in made)
    names = set(re.findall(r"ray_autoresearch_\w+", asked)) - {"ray_autoresearch_best_"}
    assert names <= {name for name, _ in made}
    by = set(re.findall(r"by \((\w+)\) \(ray_autoresearch", asked))
    assert by == {label for _, labels in made for label in labels}
