"""One run of a worktree's train.py: confined, under limits, scored from outside. Decides nothing."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import prepare
from search.system.files import end_of
from search.system.gpus import GpuWatch
from search.system.guard import STARTED_BY
from search.system.process import Limits, run_limited
from search.system.sandbox import confined, is_available, why_not_isolated
from search.system.worktrees import made_anew, remove_tree
from search.trial.footer import crash_reason, parse_footer
from search.trial.scorer import Labels, Scorer

READ_OF_LOG = 8 * 2**20  # bytes, the last: footer and traceback stand there
CUDA_PROBE = "import torch; torch.zeros(8, device='cuda').sum().item()"
CUDA_PROBE_SECONDS = 180.0  # to import torch on a busy machine takes its time
PASSED_ON = (
    STARTED_BY,  # by which what a trial began a moment before its driver was killed is found, too
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

    tree: the worktree. view: the data set that it is named. labels, images: what it is trained on and scored by, and
    the file of the photos. scratch: what compilers keep for it. temporary: its temporary files, at a short path. Both
    are made here, and gone afterwards. gpu: its UUID, which CUDA_VISIBLE_DEVICES gets; '' for none. secret: what it
    must not read even if it could; None: it is not confined. isolated: as for sandbox.confined.
    """

    tree: Path
    view: Path
    labels: Labels
    images: Path
    seed: int
    max_train_seconds: float
    scratch: Path
    temporary: Path
    log: Path
    gpu: str
    threads: int
    limits: Limits
    secret: Sequence[Path] | None
    nice: int = 0
    isolated: bool = True


@dataclass(frozen=True)
class TrainingResult:
    """How a run ended. reason: why it is a crash; '' if it is none. began: by time.monotonic(). lives_on, stopped:
    as for process.Ended."""

    reason: str
    text: str
    footer: dict[str, str]
    scorer: Scorer
    began: float
    gpu_name: str = ""
    gpu_seen: dict[str, Any] = field(default_factory=dict)
    lives_on: bool = False
    stopped: float = 0.0

    @property
    def trained_seconds(self) -> float | None:
        """From begin_training() to evaluate(), if both were called; the time of a run without its start-up."""
        if self.scorer.evaluating is None or self.scorer.training is None:
            return None
        return self.scorer.evaluating - self.scorer.training


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
    remove_own(run)
    run.scratch.mkdir(parents=True)
    made_anew(run.temporary)
    if run.secret is not None and is_available():
        writable = [run.tree, run.scratch, run.temporary]
        command = confined(command, [run.view], writable, run.secret, run.scratch / "rules.json", run.isolated)
    if run.nice:
        command = ["nice", "-n", str(run.nice), *command]
    limits = replace(run.limits, folders=(run.tree, run.scratch, run.temporary))
    began = time.monotonic()
    with Scorer(run.labels, run.images) as scorer, GpuWatch(run.gpu) as watch:
        environment = environment_of(run.gpu, run.threads, run.scratch, run.temporary)
        environment[prepare.SCORER_VARIABLE] = str(scorer.descriptor)
        ended = run_limited(
            command, run.tree, environment, run.log, limits, on_started, on_training, (scorer.descriptor,)
        )
    remove_own(run)
    text = end_of(run.log, READ_OF_LOG)
    footer = parse_footer(text)
    reason = crash_reason(ended, text, footer)
    if not reason and scorer.submission is None:
        reason = scorer.problem or "evaluate() handed nothing to the scorer"
    return TrainingResult(reason, text, footer, scorer, began, watch.name, watch.seen, ended.lives_on, ended.stopped)


def remove_own(run: TrainingJob) -> None:
    for folder in (run.scratch, run.temporary):
        remove_tree(folder)


def environment_of(gpu: str, threads: int, scratch: Path, temporary: Path) -> dict[str, str]:
    """The whole environment of a run: a short list of the user's variables, its GPU, and its own files."""
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return environment | {
        "CUDA_VISIBLE_DEVICES": gpu,
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONNOUSERSITE": "1",
        "TMPDIR": str(temporary),
        # What compilers keep goes with the run: a file that the next one reads would be a way to hand it something.
        "TORCHINDUCTOR_CACHE_DIR": str(scratch / "inductor"),
        "TRITON_CACHE_DIR": str(scratch / "triton"),
        "CUDA_CACHE_PATH": str(scratch / "cuda"),
        "MPLCONFIGDIR": str(scratch),
    }


def probe_cuda(gpu: str, folder: Path, secret: Sequence[Path] | None, isolated: bool) -> tuple[str, bool]:
    """Why CUDA does not work on a GPU for runs like those of run_training, '' if it does, and whether they may be
    isolated.

    gpu, secret, isolated: as in TrainingJob. folder: made here, and gone afterwards.
    """
    fault = _cuda_fault(gpu, folder, secret, isolated)
    if fault and isolated and secret is not None and not why_not_isolated():
        without = _cuda_fault(gpu, folder, secret, isolated=False)
        return (fault, True) if without else ("", False)
    return fault, isolated


def _cuda_fault(gpu: str, folder: Path, secret: Sequence[Path] | None, isolated: bool) -> str:
    made_anew(folder)
    command = [sys.executable, "-c", CUDA_PROBE]
    if secret is not None and is_available():
        command = confined(command, [], [folder], secret, folder / "rules.json", isolated)
    log = folder / "probe.log"
    ended = run_limited(command, folder, environment_of(gpu, 1, folder, folder), log, Limits(CUDA_PROBE_SECONDS, None))
    lines = [line.strip() for line in end_of(log, READ_OF_LOG).splitlines() if line.strip()]
    remove_tree(folder)
    if ended.ended_for or ended.code:
        return f"CUDA does not work there: {ended.ended_for or (lines or ['no word'])[-1]}"
    return ""
