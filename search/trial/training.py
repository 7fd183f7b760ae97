"""One run of a task's program: confined, under limits, scored from outside if it has a scorer. Decides nothing."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from search.core.task import Passing, Task
from search.core.types import Value
from search.system.files import end_of
from search.system.gpus import GpuWatch
from search.system.guard import STARTED_BY
from search.system.process import GuardedRun, Judge, Limits, limited, run_limited, started_cold
from search.system.sandbox import by_rules, confined, is_available, why_not_isolated, write_rules
from search.system.warm.interpreter import WarmError, WarmInterpreter
from search.system.worktrees import made_anew, remove_tree
from search.trial.footer import crash_reason, number_in, parse_footer
from search.trial.rewrite import rewrite_constants

if TYPE_CHECKING:  # it loads the data set's own code, which tasks without a scorer have not
    from search.trial.scorer import ScoredData, Scorer

OWN_WORD_OF_SECONDS = ("train_seconds", "training_seconds")  # keys of footers
SHORTEST_REST = 20.0  # seconds; a budget of seconds is not lost to a busy machine
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

    tree: the worktree. data: what it is trained on and scored by; None: the run itself reports its score. scratch: what
    compilers keep for it. temporary: its temporary files, at a short path. Both are made here, and gone afterwards.
    gpu: its UUID, which CUDA_VISIBLE_DEVICES gets; '' for none. secret: what it must not read even if it could; None:
    it is not confined. isolated: as for sandbox.write_rules. warm: a Python to fork; None: each run starts its own.
    holds_back, weights: as of Scorer.
    """

    task: Task
    tree: Path
    data: ScoredData | None
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
    warm: WarmInterpreter | None = None
    holds_back: bool = False
    weights: Path | None = None

    @property
    def folder(self) -> Path:
        """Where it runs."""
        return self.tree / self.task.folder


@dataclass(frozen=True)
class TrainingResult:
    """How a run ended. reason: why it is a crash; '' if it is none. began, trains_since, ended: by time.monotonic();
    trains_since: its first training line, its begin in a task without; None: it printed none. lives_on, stopped: as for
    process.Ended. was_warm: it was forked."""

    reason: str
    text: str
    footer: dict[str, str]
    scorer: Scorer | None
    began: float
    trains_since: float | None
    ended: float
    was_warm: bool = False
    gpu_name: str = ""
    gpu_seen: dict[str, Any] = field(default_factory=dict)
    lives_on: bool = False
    stopped: float = 0.0

    @property
    def trained_seconds(self) -> float | None:
        """The time of a run without its start-up: from begin_training() to evaluate(), if both were called; without a
        scorer, by the run's own word, else from its first training line to its end."""
        if self.scorer is None:
            said = (number_in(self.text, self.footer, key) for key in OWN_WORD_OF_SECONDS)
            seen = None if self.trains_since is None else self.ended - self.trains_since
            return next((seconds for seconds in said if seconds is not None), seen)
        if self.scorer.evaluating is None or self.scorer.training is None:
            return None
        return self.scorer.evaluating - self.scorer.training


def limits_of(task: Task, max_train_seconds: float, start_up_seconds: float) -> Limits:
    """The limits of a run: by its training lines, or of all of it where the task prints none or sets its own."""
    rest = max(2 * max_train_seconds, SHORTEST_REST)
    rest += 0.0 if task.room else task.start_up_seconds  # how long a program of somebody's evaluates, nobody knows
    if task.most_seconds is not None:
        return Limits(task.most_seconds, None)
    return Limits(start_up_seconds, rest) if task.trains else Limits(start_up_seconds + rest, None)


def command_of(
    task: Task, view: Path | None, numbers: Sequence[tuple[Passing, Value]]
) -> tuple[list[str], dict[str, str]]:
    """The command of a run, and what its environment has besides. view: of its data set, if it has one. numbers: what
    it is told, as its seed and its budget."""
    command = [word.replace("{python}", sys.executable) for word in task.command]
    command += ["--dataset", str(view)] if view else []
    variables: dict[str, str] = {}
    for how, value in numbers:
        if how.flag:
            command += [how.flag, f"{value:.15g}"]
        elif how.variable:
            variables[how.variable] = f"{value:.15g}"
    return command, variables


def numbers_of(job: TrainingJob) -> list[tuple[Passing, Value]]:
    seconds: Value = int(job.max_train_seconds) if job.max_train_seconds.is_integer() else job.max_train_seconds
    return [(job.task.seed, job.seed), (job.task.seconds, seconds)]


def tell_by_constants(job: TrainingJob) -> list[str]:
    """Rewrites the constants that tell a run its seed and its budget; the files that have them, as paths in the
    worktree. Raises RecipeError if one is not there."""
    changes: dict[str, dict[str, Value]] = {}
    for how, value in numbers_of(job):
        if how.constant:
            changes.setdefault(job.task.path(how.file), {})[how.constant] = value
    for path, values in changes.items():
        file = job.tree / path
        file.write_text(rewrite_constants(file.read_text(), values))
    return list(changes)


def run_training(
    run: TrainingJob,
    on_started: Callable[[int], None] = lambda pid: None,
    on_training: Callable[[], None] = lambda: None,
    on_evaluating: Callable[[], None] = lambda: None,
    judge: Judge = lambda printed, seconds: "",
) -> TrainingResult:
    """Runs a task's command to its end or its limit; afterwards no process of it is alive.

    on_started gets the process id of its guard. on_training: at its first training line. on_evaluating: when its scorer
    is told that training has ended. judge: as of process.limited.
    """
    command, told = command_of(run.task, run.data.view if run.data else None, numbers_of(run))
    variables = {name: os.environ[name] for name in run.task.variables if name in os.environ} | told
    remove_own(run)
    run.scratch.mkdir(parents=True)
    made_anew(run.temporary)
    rules = None
    if run.secret is not None and is_available():
        rules = run.scratch / "rules.json"
        reads = [Path(path).expanduser() for path in run.task.reads]
        readable = [run.data.view] if run.data else [path for path in reads if path.exists()]
        write_rules(readable, [run.tree, run.scratch, run.temporary], run.secret, rules, run.isolated)
    limits = replace(run.limits, folders=(run.tree, run.scratch, run.temporary))
    was_warm = evaluates = False
    began = time.monotonic()
    since = None if run.task.trains else began

    def training() -> None:
        nonlocal since
        since = time.monotonic()
        on_training()

    with scorer_of(run) as scorer, GpuWatch(run.gpu) as watch:
        environment = environment_of(run.gpu, run.threads, run.scratch, run.temporary) | variables
        descriptors = [] if scorer is None else [scorer.descriptor]
        environment |= {scorer.variable: str(scorer.descriptor)} if scorer else {}

        def start(output: IO[bytes]) -> GuardedRun:
            nonlocal was_warm
            if run.warm is not None and not run.nice and is_program(command):
                with suppress(WarmError):
                    begun = run.warm.begin(command[1:], run.folder, environment, rules, output, descriptors)
                    was_warm = True
                    return begun
            whole = by_rules(command, rules) if rules else command
            whole = ["nice", "-n", str(run.nice), *whole] if run.nice else whole
            return started_cold(whole, run.folder, environment, output, descriptors)

        def judged(printed: bytes, seconds: float) -> str:
            nonlocal evaluates
            if scorer is not None and scorer.evaluating is not None and not evaluates:
                evaluates = True
                on_evaluating()
            return judge(printed, seconds)

        ended = limited(start, run.log, limits, on_started, training, judged)
    over = time.monotonic()
    remove_own(run)
    text = end_of(run.log, READ_OF_LOG)
    footer = parse_footer(text)
    reason = crash_reason(run.task, ended, text, footer)
    if not reason and scorer is not None and scorer.submission is None:
        reason = scorer.problem or "evaluate() handed nothing to the scorer"
    return TrainingResult(
        reason,
        text,
        footer,
        scorer,
        began,
        since,
        over,
        was_warm,
        watch.name,
        watch.seen,
        ended.lives_on,
        ended.stopped,
    )


def is_program(command: Sequence[str]) -> bool:
    """Whether a command is a Python program, and no more than that: an interpreter can then become it."""
    return len(command) > 1 and command[0] == sys.executable and command[1].endswith(".py")


def scorer_of(run: TrainingJob) -> AbstractContextManager[Scorer | None]:
    if run.data is None:
        return nullcontext()
    from search.trial.scorer import Scorer

    return Scorer(run.task, run.data.labels, run.data.images, run.holds_back, run.weights)


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
        "TORCHINDUCTOR_COMPILE_THREADS": "1",  # in the run itself: CUDA does not start in a confined child
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
