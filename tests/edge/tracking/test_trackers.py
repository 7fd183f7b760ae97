"""Trackers with their real packages, on this machine: what is written is read back, and a kill doubles nothing."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from search.core.types import SearchError
from search.report.search_records import SearchRecords
from search.tracking.follow import Follower
from search.tracking.trackers import check_installed, tracker_of
from tests.edge.web import made_up
from tests.support.repositories import ROOT

COPIES = """
import sys
from pathlib import Path
from search.tracking.follow import Follower
from search.tracking.trackers import tracker_of
name, folder = sys.argv[1], Path(sys.argv[2])
tracker = tracker_of(name, "made-up", folder)
follower = Follower(folder, None, tracker, folder / f"tracked-{name}.txt")
print("COPIED", follower.copy(is_last=True), flush=True)
tracker.close()
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    for variable in ("WANDB_DIR", "WANDB_MODE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(variable, raising=False)
    return made_up.search(tmp_path, 8)


def copied(name, folder):
    return subprocess.Popen(
        [sys.executable, "-c", COPIES, name, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


def finished(process):
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    return int(output.partition("COPIED ")[2].split()[0])


READS = {
    "trackio": """
from trackio.sqlite_storage import SQLiteStorage
project = "autoresearch-made-up"
found = []
for run in SQLiteStorage.get_runs(project):
    logs = SQLiteStorage.get_logs(project, run)
    last = {key: value for row in logs for key, value in row.items()}
    steps = len({row["step"] for row in logs if "loss" in row or "experiment" in row})
    rows = sum("loss" in row or "experiment" in row for row in logs)
    found.append([run, steps, rows, last.get("final_bin_acc")])
""",
    "mlflow": """
from mlflow.tracking import MlflowClient
client = MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db")
experiment = client.get_experiment_by_name("autoresearch made-up").experiment_id
found = []
for run in client.search_runs([experiment]):
    of = client.get_metric_history(run.info.run_id, "experiment" if run.info.run_name == "search" else "loss")
    found.append([run.info.run_name, len({one.step for one in of}), len(of), run.data.metrics.get("final_bin_acc")])
""",
    "wandb": """
import json
import struct
from pathlib import Path
from wandb.proto import wandb_internal_pb2
BLOCK, OWN, HEADER, FULL, LAST = 32768, 7, 7, 1, 4
def entries(data):
    # LevelDB's log: blocks of entries, each a checksum, a length and a kind; W&B puts bytes of its own before it
    at, whole = OWN, b""
    while at + HEADER <= len(data):
        left = BLOCK - at % BLOCK
        length, kind = struct.unpack_from("<HB", data, at + 4) if left >= HEADER else (0, 0)
        if not kind:
            at += left
            continue
        whole += data[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if kind in (FULL, LAST):
            yield whole
            whole = b""
found = []
for path in Path(folder).glob("wandb/offline-run-*/run-*.wandb"):
    rows, summary = [], {}
    for data in entries(path.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        if record.WhichOneof("record_type") == "history":
            rows.append({(one.key or one.nested_key[0]): json.loads(one.value_json) for one in record.history.item})
        if record.WhichOneof("record_type") == "summary":
            summary |= {(one.key or one.nested_key[0]): json.loads(one.value_json) for one in record.summary.update}
    rows = [row for row in rows if "loss" in row or "experiment" in row]
    steps = len({row["_step"] for row in rows})
    found.append([path.stem.removeprefix("run-made-up-"), steps, len(rows), summary.get("bin_acc")])
""",
}


def read_back(name, folder):
    """Of each run: its name, its steps, its rows, the metric that it ended with."""
    program = f"folder = {str(folder)!r}\n{READS[name]}\nimport json\nprint('FOUND ' + json.dumps(found))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("FOUND ")]
    return json.loads(line.removeprefix("FOUND "))


@pytest.mark.parametrize(
    "name", [pytest.param("trackio"), *(pytest.param(one, marks=pytest.mark.full) for one in READS if one != "trackio")]
)
def test_every_trial_is_there_once_whatever_is_killed(folder, name):
    pytest.importorskip(name)
    records = SearchRecords(folder)
    records.refresh()
    written = folder / f"tracked-{name}.txt"
    first = copied(name, folder)
    deadline = time.monotonic() + 120
    while not (written.exists() and len(written.read_text().split()) >= 4) and time.monotonic() < deadline:
        assert first.poll() is None, first.communicate()
        time.sleep(0.02)
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    known = len(written.read_text().split())
    assert 4 <= known < len(records.outcomes)
    assert finished(copied(name, folder)) == len(records.outcomes) - known
    assert finished(copied(name, folder)) == 0  # all is there
    found = read_back(name, folder)
    by_name = {run: rest for run, *rest in found}
    assert len(by_name) == len(found) == len(records.outcomes) + 1
    for outcome in records.outcomes:
        steps, rows, score = by_name[outcome.trial]
        assert steps == rows == len(outcome.losses)
        assert score is None if outcome.score is None else score == pytest.approx(outcome.score.primary, abs=1e-6)
    steps, rows, _ = by_name["search"]
    assert steps == rows == len(records.decisions)


def test_a_tracker_that_is_not_installed_is_one_line(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SearchError, match="mlflow is not installed; pip install mlflow-skinny"):
        check_installed("mlflow")


class Fails:
    where = ""

    def __init__(self, often):
        self.often, self.runs = often, []

    def write(self, run):
        if self.often:
            self.often -= 1
            raise OSError("no route to host")
        self.runs.append(run.key)

    def extend(self, run, first):
        self.runs.append((run.key, first, len(run.steps)))

    def close(self):
        pass


def test_a_tracker_that_is_away_gets_it_later_and_is_said_once(folder):
    from search.tracking.follow import follow

    tracker, said, looks = Fails(3), [], iter([False, False, False, False, True])
    follow(Follower(folder, None, tracker, folder / "tracked-x.txt"), lambda: next(looks), said.append)
    records = SearchRecords(folder)
    records.refresh()
    assert said == ["not tracked for now: OSError: no route to host"]
    assert [run for run in tracker.runs if isinstance(run, str)] == [one.trial for one in records.outcomes]
    assert tracker.runs[-1][0] == "search" and tracker.runs[-1][2] == len(records.decisions)


def test_a_tracker_must_be_known():
    with pytest.raises(SearchError, match="not installed"):
        tracker_of("nothing_of_this_name", "t", ROOT)
