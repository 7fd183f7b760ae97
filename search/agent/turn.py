"""One proposal: the agent thinks, its edit is checked, tried for a few seconds, and handed back if it fails."""

from __future__ import annotations

import fnmatch
import os
import random
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from search.agent.agents import Agent, Said, idea_of, whole
from search.agent.builtin.choose import Tried, choose
from search.agent.smoke import SmokeSetup, fault
from search.agent.validate import LARGEST_FILE, EditBase, Refusal, validate
from search.core.paths import temporary_folder
from search.core.recipe import values_of
from search.core.types import Cost, Proposal
from search.records.housekeeping import pack_log
from search.report.costs import total_of
from search.system.files import end_of
from search.system.git import LEAKING_VARIABLES, Repository
from search.system.process import Limits, run_limited
from search.system.sandbox import confined_agent, is_available
from search.system.worktrees import made_anew, remove_tree
from search.trial import integrity

ATTEMPTS = 3  # the first, and twice handed back
BRIEF = "BRIEF.md"
LARGEST_OUTPUT = 64 * 2**20  # bytes
OWN = (
    ".git/*",
    BRIEF,
    "analysis_summary.json",
    "__pycache__/*",
    "*/__pycache__/*",
    "*.pyc",
    "run.log",
)
NEVER_BEGAN = ("the agent failed", "it could not be asked")
NOTHING_LEFT = "no edit of the catalogue applies to this train.py and is new"
HIDDEN_GPUS = {"CUDA_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": "", "ROCR_VISIBLE_DEVICES": ""}
one_smoke_at_a_time = threading.Semaphore(1)


@dataclass(frozen=True)
class ProposalContext:
    """What edits are checked with. started: gets the process ids of guards. ended: nobody waits any more."""

    repository: Repository
    smoke: SmokeSetup
    folder: Path
    started: Callable[[int], None]
    ended: Callable[[], bool] = lambda: False

    @property
    def edited(self) -> str:
        """The only file that edits change, by its path in the repository."""
        return self.smoke.places.task.edited_path


@dataclass(frozen=True)
class Assignment:
    """One proposal that the agent is asked for.

    name: of its folder. brief: the prompt. summary: a file that it may read. seconds: for all of its thinking. dollars:
    what is left to spend, None if nothing limits it. kept, secret: what it must not change, and not read; None: it
    is not confined.
    """

    name: str
    turn: int
    edit_base: EditBase
    brief: str
    summary: str
    seconds: float
    dollars: float | None = None
    kept: tuple[Path, ...] = ()
    secret: tuple[Path, ...] | None = None


def ask(agent: Agent, task: Assignment, context: ProposalContext) -> Proposal:
    """What comes of asking an agent: a proposal that passed every check, or the reason why there is none."""
    tree = context.folder / task.name / "tree"
    context.repository.export(task.edit_base.commit, tree)
    try:
        return _asked(agent, task, context, tree)
    finally:
        shutil.rmtree(tree, ignore_errors=True)


def _asked(agent: Agent, task: Assignment, context: ProposalContext, tree: Path) -> Proposal:
    edited = context.edited
    given = integrity.as_written(tree, integrity.files_of(context.repository, task.edit_base.commit))
    (tree / "analysis_summary.json").write_text(task.summary)
    made = Proposal(0, agent.name, "", task.edit_base.commit, turn=task.turn)
    said: list[Said] = []
    thinking, reason = 0.0, ""
    for attempt in range(1, ATTEMPTS + 1):
        prompt = task.brief if attempt == 1 else handed_back(edited, reason)
        began = time.monotonic()
        left = None if task.dollars is None else max(task.dollars - (made.cost.dollars or 0.0), 0.01)
        failed, answered = call(agent, task, context, prompt, attempt, task.seconds - thinking, left)
        thinking += time.monotonic() - began
        if is_file_of(tree / edited, LARGEST_FILE):  # what is refused before it is a commit can still be looked at
            shutil.copyfile(tree / edited, tree.parent / f"edit{attempt}.py")
        said.append(answered)
        made = replace(made, idea=idea_of(answered.answer) or made.idea, cost=cost_of(said, thinking))
        if failed:
            return replace(made, refused=failed)
        source = edited_source(agent, task, context, tree, given)
        if isinstance(source, Refusal):
            made = replace(made, refused=source.reason)
            if attempt == 1 and source.final:
                return made
        else:
            made = checked(made, source, task.edit_base, context, f"{task.name}/smoke{attempt}")
            if not made.refused:
                return made
        reason = made.refused
        if context.ended() or thinking >= task.seconds or spent_up(task, made):
            break
    return replace(made, refused=f"{made.refused.splitlines()[0]} (handed back {len(said) - 1} times)")


def spent_up(task: Assignment, made: Proposal) -> bool:
    return task.dollars is not None and (made.cost.dollars or 0.0) >= task.dollars


def cost_of(said: Sequence[Said], seconds: float) -> Cost:
    """What all attempts took together."""
    return Cost(
        seconds=round(seconds, 1),
        attempts=len(said),
        turns=whole(total_of([one.turns for one in said])),
        input_tokens=whole(total_of([one.input_tokens for one in said])),
        output_tokens=whole(total_of([one.output_tokens for one in said])),
        dollars=total_of([one.dollars for one in said]),
    )


def handed_back(edited: str, reason: str) -> str:
    return (
        f"Your edit of {edited} in this folder is not accepted:\n\n{reason}\n\nThe file is as you left it; all others "
        f"are as they were. {BRIEF} still says what is wanted. Mend {edited}, or make another idea real in it, and end "
        "with an answer whose first line is `IDEA: ` and the idea in a few words.\n"
    )


def is_passed_on(name: str) -> bool:
    """Whether an agent gets this variable of the user's: not git's, and nothing that leads to the search's Ray."""
    return name not in LEAKING_VARIABLES and not name.startswith("RAY_")


def call(
    agent: Agent,
    task: Assignment,
    context: ProposalContext,
    prompt: str,
    attempt: int,
    seconds: float,
    dollars: float | None,
) -> tuple[str, Said]:
    """(why the call failed, or '', what the agent said)."""
    folder = context.folder / task.name
    tree, brief, log = folder / "tree", folder / "tree" / BRIEF, folder / f"agent{attempt}.log"
    brief.write_text(prompt if attempt == 1 else f"{task.brief}\n\n{prompt}")
    given = folder / f"prompt{attempt}.md"
    given.write_text(prompt)
    is_confined = task.secret is not None and is_available()
    own = folder / f"own{attempt}"
    own.mkdir(exist_ok=True)
    for name, text in agent.files.items():
        (own / name).write_text(text)
    command = agent.words(str(given if agent.on_stdin else brief), str(own), dollars, is_confined)
    if agent.on_stdin:
        command = ["/bin/sh", "-c", 'exec "$@" < "$0"', str(given), *command]
    log.touch()
    temporary = made_anew(temporary_folder(folder))
    if is_confined:
        for home in agent.homes:
            (Path.home() / home).mkdir(parents=True, exist_ok=True)
        read, write = [context.smoke.photos, given], [tree, temporary, own, log]  # the log: some open /dev/stderr
        rules = folder / f"rules{attempt}.json"
        command = confined_agent(command, read, write, task.kept, task.secret or (), rules)
    environment = {name: value for name, value in os.environ.items() if is_passed_on(name)}
    environment |= {"TMPDIR": str(temporary), "AUTORESEARCH_BRIEF": str(brief), **HIDDEN_GPUS}
    environment |= agent.variables(environment, str(own))
    limits = Limits(max(seconds, 1.0), None, LARGEST_OUTPUT)
    ended = run_limited(command, tree, environment, log, limits, context.started)
    remove_tree(temporary)
    output = end_of(log, LARGEST_OUTPUT)
    pack_log(log)
    said = agent.said(output, own)
    if ended.ended_for:
        return f"the agent was ended: {ended.ended_for}", said
    if ended.code or said.failure:
        last = next((line.strip() for line in reversed(output.splitlines()) if line.strip()), "no word")
        return f"the agent failed, exit code {ended.code}: {said.failure or last}"[:300], said
    return "", said


def is_file_of(path: Path, most: int) -> bool:
    """Whether it is a file, and no link, of at most so many bytes."""
    return path.is_file() and not path.is_symlink() and path.stat().st_size <= most


def edited_source(
    agent: Agent, task: Assignment, context: ProposalContext, tree: Path, given: Mapping[str, tuple[str, str]]
) -> str | Refusal:
    """The edited file that the agent left; a refusal if it changed other files, which are put back.

    given: the files that it was given, by integrity.as_written.
    """
    edited, base = context.edited, task.edit_base
    path = tree / edited
    if path.is_file() and not is_file_of(path, LARGEST_FILE):
        path.unlink()
        return Refusal(f"{edited} is a link, or has more than {LARGEST_FILE} bytes, and is taken away")
    source = path.read_text(errors="replace") if path.is_file() else ""
    wanted = {name: file for name, file in given.items() if name != edited}
    patterns = (*OWN, *agent.leaves)
    others = integrity.changed(tree, wanted)
    others += [
        name
        for name in integrity.strays(tree, wanted)
        if name != edited and not any(fnmatch.fnmatch(name, pattern) for pattern in patterns)
    ]
    if others:
        context.repository.export(base.commit, tree)
        path.write_text(source)
        (tree / "analysis_summary.json").write_text(task.summary)
        more = f" and {len(others) - 5} more" if len(others) > 5 else ""
        named = integrity.printable(", ".join(others[:5]))
        return Refusal(f"files other than {edited} were changed, and are put back: {named}{more}")
    if not source:
        return Refusal(f"{edited} is gone")
    if source == base.source:
        return Refusal(f"{edited} was left as it was", final=True)
    return source


def checked(made: Proposal, source: str, edit_base: EditBase, context: ProposalContext, name: str) -> Proposal:
    """The proposal with its commit, once its edit has trained for a few seconds; or refused, with the reason."""
    found = validate(source, edit_base)
    if isinstance(found, Refusal):
        return replace(made, refused=found.reason)
    idea = made.idea or "an edit without a name"
    message = f"{idea}\n\nProposal of {made.author}, on {edit_base.commit}\n"
    commit = context.repository.commit_edit(edit_base.commit, context.edited, source, message, made.author)
    with one_smoke_at_a_time:
        wrong = "the search ended" if context.ended() else fault(context.smoke, commit, name, context.started)
    return replace(made, idea=idea, commit=commit, identity=found, refused=wrong)


def choose_and_check(task: Assignment, context: ProposalContext, tried: Sequence[Tried], seed: str) -> Proposal:
    """The built-in agent's proposal: an edit of the catalogue that trains."""
    began, rng = time.monotonic(), random.Random(seed)
    passed_over: set[str] = set()
    made = Proposal(0, "builtin", "", task.edit_base.commit, turn=task.turn)
    known = set(task.edit_base.identities)
    for attempt in range(1, ATTEMPTS + 1):
        chosen = choose(task.edit_base.source, values_of(task.edit_base.source), tried, known, passed_over, rng)
        if chosen is None:
            made = replace(made, refused=made.refused or NOTHING_LEFT)
            break
        one, source = chosen
        passed_over.add(one.name)
        made = replace(made, idea=one.idea, edit=one.name, refused="", commit="", identity="")
        made = checked(made, source, task.edit_base, context, f"{task.name}/smoke{attempt}")
        if not made.refused or context.ended():
            break
    seconds = round(time.monotonic() - began, 1)
    return replace(made, cost=Cost(seconds, len(passed_over) or 1, None, 0, 0, 0.0))
