"""A repository with a task of its own, which holds nothing of this project's."""

import os
import subprocess
import sys

from tests.support.repositories import ROOT, git

TRAIN = '''"""Trains something, for no time at all."""
import math, os, random

from prepare import NOISE

LR = 0.5  # 1e-4 … 1
WIDTH = 8
print("step 1 | loss 3.0", flush=True)
rng = random.Random(f"{os.environ.get('SEED')} {LR} {WIDTH}")
loss = 1 + 0.1 * abs(math.log10(LR / 0.01)) + 0.01 * abs(WIDTH - 16) + NOISE * rng.gauss(0, 1)
print(f"---\\nval_loss: {loss:.5f}\\nrss_gb: 0.25")
'''
TASK = """
edited = "train.py"
fixed = ["prepare.py"]
hyperparameters = "constants"

[metric]
name = "val_loss"
direction = "lower"
decimals = 5

[seconds]
usual = 2

[memory]
key = "rss_gb"
unit = "GB"
"""
SEED = '\n[seed]\nvariable = "SEED"\n'
SPACE = """
[LR]
kind = "float"
low = 1e-4
high = 1.0
scale = "log"
step = 4

[WIDTH]
kind = "int"
low = 1
high = 64
scale = "log"
step = 2
"""


def own_repository(folder, noise=0.001, more=SEED):
    """noise: of a run. more: of the task.toml."""
    folder.mkdir(parents=True)
    files = {"train.py": TRAIN, "prepare.py": f"NOISE = {noise}\n", "task.toml": TASK + more, "space.toml": SPACE}
    for name, text in files.items():
        (folder / name).write_text(text)
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "train.py", "prepare.py")
    git(folder, "commit", "-qm", "begin")
    return folder


def as_installed(site=ROOT):
    """The environment of a command in any folder, as if this project were installed. site: where its packages lie."""
    return {**os.environ, "PYTHONPATH": str(site), "PYTHONSAFEPATH": "1"}


def run_there(folder, *words, code=0, site=ROOT):
    """Runs `python -m search WORDS` in a folder. code: what it must exit with; None: anything."""
    done = subprocess.run(
        [sys.executable, "-m", "search", *words], cwd=folder, env=as_installed(site), capture_output=True, text=True,
        timeout=250, check=False,
    )  # fmt: skip
    assert code in (None, done.returncode), done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def search_there(folder, *words, code=0, site=ROOT):
    usual = ("--gpus", "2", "--agent", "none", "--no-dashboard", "--no-page", "--disk-reserve", "0", "--tag", "own")
    return run_there(folder, "launch", *usual, *words, code=code, site=site)
