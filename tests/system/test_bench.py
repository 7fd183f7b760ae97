"""The benches run, and end with their figures."""

import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT

TABLE = ROOT.parent / "shared" / "hpo" / "lcbench"


def bench(name, *arguments):
    done = subprocess.run(
        [sys.executable, f"bench/{name}.py", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.skipif(not TABLE.exists(), reason=f"the table of learning runs is not at {TABLE}")
@pytest.mark.parametrize("seeds", [2, pytest.param(30, marks=pytest.mark.full)])
def test_proposals_beat_random_moves(seeds):
    figures = bench("proposals", "--table", str(TABLE), "--seeds", str(seeds))
    assert figures["regret"] < figures["regret_random"]
    if seeds == 30:
        assert figures["win_rate_over_random"] >= 0.8


def test_a_missing_table_is_one_clear_line():
    done = subprocess.run(
        [sys.executable, "bench/proposals.py", "--table", "/nowhere"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.strip() == "--table /nowhere: no lcbench.py there; name the folder that has it"
