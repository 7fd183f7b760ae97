"""How many cores a process may use."""

import os

import pytest

from search.system.process import usable_cores

BOUND = len(os.sched_getaffinity(0))
GROUPS = {  # the file, what it says of the process, and the files of its groups
    "version 2": ("0::/box/inner", {"box/inner/cpu.max": "max 100000", "box/cpu.max": "100000 100000"}),
    "version 1": (
        "4:cpu,cpuacct:/box",
        {"cpu/box/cpu.cfs_quota_us": "150000", "cpu/box/cpu.cfs_period_us": "100000"},
    ),
    "less than one": ("0::/", {"cpu.max": "20000 100000"}),
}


@pytest.mark.parametrize("name", GROUPS)
def test_what_control_groups_grant_is_no_more(tmp_path, name):
    line, files = GROUPS[name]
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    (tmp_path / "mine").write_text(f"{line}\n")
    assert usable_cores(tmp_path, tmp_path / "mine") == 1


@pytest.mark.parametrize("text", ["0::/\n", "torn", ""])
def test_without_a_limit_it_is_what_the_process_is_bound_to(tmp_path, text):
    (tmp_path / "cpu.max").write_text("max 100000")
    (tmp_path / "mine").write_text(text)
    assert usable_cores(tmp_path, tmp_path / "mine") == usable_cores(tmp_path, tmp_path / "gone") == BOUND
