"""What Ray's dashboard shows of a search."""

import json
import os
import re
import subprocess
import sys

import pytest

from search.cli.session import ON_LOOPBACK
from tests.support.launching import SLOW_TRAIN, begin, command_line, terminate
from tests.support.repositories import make_repository


@pytest.mark.full
def test_the_dashboard_names_slots_and_has_the_gauges(tmp_path, demo):
    repository = make_repository(tmp_path / "project", SLOW_TRAIN)
    results = repository / "runs/t/results.tsv"
    driver, below = begin(
        repository, demo, lambda: results.exists() and len(results.read_text().splitlines()) >= 3, dashboard=True
    )
    lines = b"".join(map(command_line, below)).decode()
    own = re.search(r"--gcs-address=([\d.]+:\d+)", lines)[1]  # other searches may run on this machine
    look = """
import json, ray, time, urllib.request
ray.init(address="auto", log_to_driver=False)
from ray.util.state import list_actors
names = sorted(actor.repr_name for actor in list_actors(detail=True) if actor.class_name == "SlotActor")
node = ray.nodes()[0]
address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
for _ in range(40):  # Ray sends metrics on every few seconds
    metrics = urllib.request.urlopen(address).read().decode()
    gauges = sorted({line.split("{")[0] for line in metrics.splitlines() if line.startswith("ray_autoresearch")})
    if len(gauges) == 5:
        break
    time.sleep(1)
print(json.dumps([names, gauges]))
"""
    which = {**os.environ, **ON_LOOPBACK, "RAY_ADDRESS": own, "RAY_AUTH_MODE": "token"}
    asked = [sys.executable, "-c", look]
    found = subprocess.run(asked, env=which, capture_output=True, text=True, timeout=60, check=False)
    terminate(driver)
    output = driver.communicate(timeout=60)[0]
    assert found.returncode == 0, found.stderr
    names, gauges = json.loads(found.stdout.splitlines()[-1])
    assert names == [f"gpu{n} (t)" for n in range(4)]
    assert gauges == [
        "ray_autoresearch_best_bin_acc",
        "ray_autoresearch_experiments",
        "ray_autoresearch_experiments_per_hour",
        "ray_autoresearch_slots",
        "ray_autoresearch_training_share",
    ]
    assert "Ray dashboard http://" in output
