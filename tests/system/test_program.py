"""program.md works as it reads: the classic loop by hand, with no service running."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.repositories import ROOT, git, make_repository

PROGRAM = (ROOT / "program.md").read_text()


def lines_of(word):
    """The code in program.md that has this word, as it stands there."""
    found = [code for code in re.findall(r"`([^`\n]+)`", PROGRAM) if word in code]
    found += [line.strip() for line in PROGRAM.splitlines() if line.startswith("   ") and word in line]
    assert found, word
    return found[0]


@pytest.mark.full
def test_the_classic_loop(tmp_path, demo):
    repository = make_repository(tmp_path / "project")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for who in ("AUTHOR", "COMMITTER"):
        environment |= {f"GIT_{who}_NAME": "agent", f"GIT_{who}_EMAIL": "agent@localhost"}

    def run(line):
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=repository,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=250,
        )
        return done.stdout

    run(lines_of("git checkout -b").replace("<tag>", "mar5"))
    run(lines_of("python prepare.py") + f" --dataset {demo}")
    run(lines_of("printf"))
    train = lines_of("tee run.log").replace("train.py", f"train.py --dataset {demo} --max-train-seconds 1 --arch lite")
    descriptions = ["baseline", "no dropout"]
    for number, description in enumerate(descriptions):
        if number:
            source = (repository / "train.py").read_text()
            (repository / "train.py").write_text(source.replace("dropout: float = 0.2", "dropout: float = 0.0"))
            run(lines_of("git commit -am").replace("<the idea>", description))
        run(train)
        footer = dict(line.split(": ") for line in run(lines_of("grep ")).splitlines())
        assert set(footer) == {"mc_acc", "bin_acc", "peak_vram_mb", "train_stopped_budget"}
        commit = run("git rev-parse --short=7 HEAD").strip()
        memory = float(footer["peak_vram_mb"]) / 1024
        status = "discard" if number else "keep"
        row = [commit, footer["mc_acc"], footer["bin_acc"], f"{memory:.1f}", status, description]
        with (repository / "results.tsv").open("a") as stream:
            stream.write("\t".join(row) + "\n")
        run(lines_of("python summarize_results.py"))
        summary = json.loads((repository / "analysis_summary.json").read_text())
        assert summary["counts"]["experiments"] == number + 1
    assert git(repository, "status", "--porcelain") == ""  # nothing of it is to be committed
    head = git(repository, "rev-parse", "HEAD~1")
    run(lines_of("git reset"))
    assert git(repository, "rev-parse", "HEAD") == head
    assert len((repository / "results.tsv").read_text().splitlines()) == 3
    assert summary["current_best"]["description"] == "baseline"
