"""One run of a worktree's train.py: confined, under limits, scored from outside. Decides nothing."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import prepare
from search.system.files import end_of
from search.system.gpus import GpuWatch
from search.system.process import Limits, run_limited
from search.system.sandbox import confined, is_available
from search.trial.footer import crash_reason, parse_footer
from search.trial.scorer import Labels, Scorer

READ_OF_LOG = 8 * 2**20  # bytes, the last: footer and traceback stand there
PASSED_ON = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TZ",
    "USER",
    "LD_LIBRARY_PATH",
    "VIRTUAL_ENV",
    "TORCH_HOME",
    "XDG_CACHE_HOME",
    "AUTORESEARCH_CACHE",
    "CUDA_HOME",
    "SSL_CERT_FILE",
    "SYSTEMROOT",
)


@dataclass(frozen=True)
class TrainingJob:
    """What a run needs.

    tree: the worktree. view: the data set that it is given. labels: those that it is scored by. scratch: its temporary
    files; made here, and gone afterwards. gpu: the id that CUDA_VISIBLE_DEVICES gets; '' for none. secret: what it must
    not read even if it could; None: it is not confined.
    """

    tree: Path
    view: Path
    labels: Labels
    seed: int
    max_train_seconds: float
    scratch: Path
    log: Path
    gpu: str
    threads: int
    limits: Limits
    secret: Sequence[Path] | None
    nice: int = 0


@dataclass(frozen=True)
class TrainingResult:
    """How a run ended. reason: why it is a crash; '' if it is none. Clock readings are of time.monotonic(); training
    is None if no training line came."""

    reason: str
    text: str
    footer: dict[str, str]
    scorer: Scorer
    began: float
    training: float | None
    gpu_name: str = ""
    gpu_seen: dict[str, Any] = field(default_factory=dict)

    @property
    def trained_seconds(self) -> float | None:
        """From the first training line to evaluate(), if both are known; the time of a run without its start-up."""
        if self.scorer.evaluating is None or self.training is None:
            return None
        return self.scorer.evaluating - self.training


def run_training(
    run: TrainingJob,
    on_started: Callable[[int], None] = lambda pid: None,
    on_training: Callable[[], None] = lambda: None,
) -> TrainingResult:
    """Runs `python train.py` to its end or its limit; afterwards no process of it is alive.

    on_started gets the process id of its guard. on_training: at its first training line.
    """
    command = [sys.executable, "train.py", "--dataset", str(run.view), "--seed", str(run.seed)]
    command += ["--max-train-seconds", f"{run.max_train_seconds:g}"]
    shutil.rmtree(run.scratch, ignore_errors=True)
    run.scratch.mkdir(parents=True)
    if run.secret is not None and is_available():
        command = confined(command, [run.view], [run.tree, run.scratch], run.secret, run.scratch / "rules.json")
    if run.nice:
        command = ["nice", "-n", str(run.nice), *command]
    clock = {"began": time.monotonic()}

    def training() -> None:
        clock["training"] = time.monotonic()
        on_training()

    with Scorer(run.labels) as scorer, GpuWatch(run.gpu) as watch:
        environment = child_environment(run, scorer.descriptor)
        ended = run_limited(
            command, run.tree, environment, run.log, run.limits, on_started, training, (scorer.descriptor,)
        )
    shutil.rmtree(run.scratch, ignore_errors=True)
    text = end_of(run.log, READ_OF_LOG)
    footer = parse_footer(text)
    reason = crash_reason(ended, text, footer)
    if not reason and scorer.submission is None:
        reason = scorer.problem or "evaluate() handed nothing to the scorer"
    return TrainingResult(reason, text, footer, scorer, clock["began"], clock.get("training"), watch.name, watch.seen)


def child_environment(run: TrainingJob, scorer: int) -> dict[str, str]:
    """The whole environment of a run: a short list of the user's variables, its GPU, and its own files."""
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return environment | {
        "CUDA_VISIBLE_DEVICES": run.gpu,
        "OMP_NUM_THREADS": str(run.threads),
        "MKL_NUM_THREADS": str(run.threads),
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONNOUSERSITE": "1",
        "TMPDIR": str(run.scratch),
        # What compilers keep goes with the run: a file that the next one reads would be a way to hand it something.
        "TORCHINDUCTOR_CACHE_DIR": str(run.scratch / "inductor"),
        "TRITON_CACHE_DIR": str(run.scratch / "triton"),
        "CUDA_CACHE_PATH": str(run.scratch / "cuda"),
        "MPLCONFIGDIR": str(run.scratch),
        prepare.SCORER_VARIABLE: str(scorer),
    }
