"""The pinned versions: each lies in the range that the package allows."""

import re
import tomllib

from packaging.requirements import Requirement

from tests.support.repositories import ROOT


def test_pins_lie_in_the_ranges():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    ranges = {r.name: r.specifier for r in map(Requirement, project["dependencies"])}
    dev = {r.name: r.specifier for r in map(Requirement, project["optional-dependencies"]["dev"])}
    for file, allowed in (("requirements.txt", ranges), ("requirements-dev.txt", dev)):
        lines = [line for line in (ROOT / file).read_text().splitlines() if line and not re.match(r"#|-r", line)]
        pins = {r.name: str(r.specifier).removeprefix("==") for r in map(Requirement, lines)}
        assert set(pins) == set(allowed)
        for name, version in pins.items():
            assert version in allowed[name], name


def test_the_lock_has_what_is_pinned_with_hashes():
    """`make lock` writes it anew after a change of requirements.txt."""
    pins = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line and not line.startswith("#")]
    entries = re.split(r"\n(?=\S)", (ROOT / "requirements.lock").read_text().strip())
    locked = {entry.partition(" ")[0] for entry in entries}
    assert {re.sub(r"\[.*\]", "", pin) for pin in pins} <= {re.sub(r"\[.*\]", "", entry) for entry in locked}
    assert all("--hash=sha256:" in entry for entry in entries)
