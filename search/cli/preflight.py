"""Everything that is checked and settled before a search begins or goes on; nothing here changes anything."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from search.agent.smoke import Places
from search.cli.options import LaunchOptions, cluster_slots, slot_count
from search.core.paths import SearchPaths, temporary_root
from search.core.recipe import has_recipe, read_recipe
from search.core.space import check_space, load_space, parse_space
from search.core.task import Hyperparameters, Task, Trust
from search.core.types import EarlyStop, SearchError, Settings, UsageError
from search.records.journal import check_tag, load_settings
from search.system.git import Repository
from search.system.gpus import card_of, is_model, visible_gpus
from search.system.process import usable_cores
from search.task.declaration import FILE, file_here, folder_in_repository, load_task
from search.task.screening import words
from search.trial import sealed
from search.trial.run import SlotSetup

DATASET = Path("dataset")  # of a task that has one, unless another is named


@dataclass(frozen=True)
class Ready:
    """A search that can run.

    slots: those that it begins with. most: those that it may have; None: as many as come. gpus: ids of this machine's
    GPUs, none if slots are logical or on a cluster. dataset: where the data set is now. decided: experiments so far;
    None for a fresh search.
    """

    settings: Settings
    slots: int
    most: int | None
    gpus: list[str]
    dataset: str
    images: int  # of the data set; 0 without one
    repository: Path
    git_folder: Path
    decided: int | None = None
    joined: bool = False  # a cluster
    gpu_model: str = ""  # part of the name of the cards that it uses now
    notes: tuple[str, ...] = ()  # what a person should know, and what holds nothing up

    def slot_setup(self, unconfined: bool) -> SlotSetup:
        """A slot's on this machine; its number, GPU and threads are filled in by the slot."""
        return SlotSetup(
            repository=str(self.repository),
            run=str(SearchPaths.of(self.repository, self.settings.tag).root),
            settings=self.settings,
            slot=0,
            gpu="",
            dataset=self.dataset,
            seal=str(sealed.folder_of(self.settings)),
            threads=1,
            confine=not unconfined,
        )

    def places(self, unconfined: bool) -> Places:
        """Where proposals are checked, and what they are not shown."""
        root = self.repository
        ray = (Path.home() / ".ray", Path(tempfile.gettempdir(), "ray"))  # a way out: it runs what it is told
        photos = sealed.withheld(self.settings.task, self.dataset, str(sealed.folder_of(self.settings)))
        secret = (*photos, self.git_folder, root / ".git", root / "runs", temporary_root(), *ray)
        threads = max(usable_cores() // 2, 1)
        return Places(self.settings.task, self.settings.fingerprint, threads, None if unconfined else secret)

    @property
    def slots_in_words(self) -> str:
        """In words."""
        if self.most is None or self.most > self.slots:
            return f"{self.slots} slots, and {'all that join' if self.most is None else f'up to {self.most}'}"
        return f"{self.slots} slots{'' if self.gpus or self.joined else ' (logical: no GPU here)'}"

    def described(self, experiments: int | None) -> str:
        """One line: what would run, with this limit."""
        settings = self.settings
        axes = parse_space(settings.space, settings.space_name).axes
        data = f", data set {self.dataset} ({self.images} {settings.task.items}, {settings.image_size} px)"
        verb = "would search" if self.decided is None else f"would go on, after {self.decided} experiments, with"
        return (
            f"{verb} {settings.tag}: {self.slots_in_words}, "
            f"{settings.max_train_seconds:g} s a trial, {experiments or 'endless'} experiments, {len(axes)} axes of "
            f"{settings.space_name}, agent {settings.agent}{data if self.images else ''}"
        )


def slots_here(gpu_model: str, asked: str, cluster: int | None) -> tuple[int | None, int, list[str]]:
    """(most slots, slots to begin with, this machine's GPUs). cluster: GPUs of the one that was joined. Raises
    UsageError."""
    if cluster is not None:
        return *cluster_slots(asked, cluster), []
    gpus = visible_gpus()
    if gpu_model:
        cards = {gpu: card_of(gpu) for gpu in gpus}
        gpus = [gpu for gpu, card in cards.items() if is_model(card, gpu_model)]
        if not gpus:
            there = ", ".join(sorted({str(card["model"]) for card in cards.values()})) or "no GPU"
            raise UsageError(f"--gpu-model {gpu_model}: this machine has {there}")
    count = slot_count(asked, gpus)
    return count, count, gpus


def task_file(options: LaunchOptions) -> Path:
    """The task.toml that is meant. Raises UsageError if there is none."""
    file = options.task or file_here()
    if file.is_dir():
        file = file / FILE
    if not file.is_file():
        raise UsageError(f"--task {file}: no such file; python -m search.adopt writes one")
    return file


def ready_to_begin(options: LaunchOptions, repository: Repository, cluster: int | None = None) -> Ready:
    """A fresh search, after every check. cluster: as in slots_here. Raises UsageError or SearchError."""
    most, slots, gpus = slots_here(options.gpu_model, options.gpus or "auto", cluster)
    asked, file = options.search, task_file(options)
    task = load_task(file, folder_in_repository(file))
    tag = time.strftime("%b%d").lower() if asked.tag is None else asked.tag
    check_tag(repository, tag)
    folder = SearchPaths.of(repository.root, tag).root
    if folder.exists() and any(path.name != ".lock" for path in folder.iterdir()):
        raise UsageError(f"{folder}: holds files of another search; move it away, or name another with --tag")
    base = commit_to_begin(repository, task)
    if asked.early_stop != EarlyStop.NONE and (not task.trains or task.most_seconds is not None):
        raise UsageError(
            f"--early-stop {asked.early_stop}: nothing tells how far a run of the task {task.name} has come "
            f"(training_lines, seconds.most in its {FILE}); leave it out"
        )
    if asked.least_sensitivity is not None:
        task = with_threshold(task, asked.least_sensitivity)
    space_name = asked.space or Path(task.space)
    near = [space_name] if asked.space else []
    places = [*near, file.parent / space_name, repository.root / space_name]
    space_file = next((place for place in places if place.exists()), places[0])
    space = load_space(space_file)
    check_space(space, read_recipe(repository.file_at(base, task.edited_path)))
    settings = Settings(
        tag=tag,
        task=task,
        base=base,
        dataset="",
        fingerprint="",
        image_size=0,
        majority_score=None,
        space=space_file.read_text(encoding="utf-8"),
        space_name=str(space_name),
        seed=asked.seed,
        max_train_seconds=seconds_of(options, task),
        slots=slots,
        created=time.time(),
        validation_images=0,
        validation_groups=(),
        confirm_seeds=asked.confirm_seeds,
        allow_degenerate=asked.allow_degenerate,
        agent=asked.agent,
        gpu_dollars_per_hour=asked.gpu_dollars_per_hour,
        most_slots=most if cluster is not None else None,
        gpu_model=options.gpu_model,
        on_gpus=bool(gpus),
        proof_share=asked.proof_share,
        early_stop=EarlyStop(asked.early_stop),
        least_sensitivity=asked.least_sensitivity,
    )
    images = 0
    if task.room:
        from search.cli.datasets import settings_with_data

        settings, images = settings_with_data(settings, Path(os.path.abspath(asked.dataset or DATASET)))
    elif asked.dataset is not None:
        raise UsageError(f"--dataset {asked.dataset}: the task {task.name} has no data set of its own; leave it out")
    settings = replace(settings, seal=str(sealed.folder_of(settings)))
    git_folder, joined = repository.common_folder(), cluster is not None
    return Ready(
        settings,
        slots,
        most,
        gpus,
        settings.dataset,
        images,
        repository.root,
        git_folder,
        None,
        joined,
        options.gpu_model,
        notes_about(task),
    )


def with_threshold(task: Task, least: float) -> Task:
    """The task, with the sensitivity at the threshold beside its metric everywhere. Raises UsageError for one that has
    no threshold."""
    if not task.room:
        raise UsageError(f"--least-sensitivity {least:g}: runs of the task {task.name} report their scores themselves")
    rates = (*task.rates, *words.RATES_AT_THRESHOLD)
    return replace(task, rates=rates, shown_rates={**task.shown_rates, **words.SHOWN_AT_THRESHOLD})


def commit_to_begin(repository: Repository, task: Task) -> str:
    """The commit that the search begins with: HEAD, with the task's files as they are there. Raises UsageError."""
    files = [task.path(name) for name in (task.edited, *task.fixed)]
    base = repository.commit_of("HEAD")
    assert base is not None
    for path in files:
        if not repository.has_file(base, path):
            advice = "commit one, with its hyperparameters" if path == task.edited_path else "commit it"
            raise UsageError(f"HEAD has no {path}: {advice}")
    check_labels(repository, base, task)
    changed = repository.changed_files(*files)
    if changed:
        raise UsageError(
            f"{', '.join(changed)}: changed and not committed; the search starts from HEAD, so commit or stash it first"
        )
    try:
        source = repository.file_at(base, task.edited_path)
        read_recipe(source)
        is_recipe = has_recipe(source)
    except SearchError as error:
        raise UsageError(f"{task.edited_path} at HEAD: {error}") from error
    if is_recipe != (task.hyperparameters is Hyperparameters.RECIPE):
        found, said = ("a class Recipe", "constants") if is_recipe else ("no class Recipe at its top level", "a recipe")
        raise UsageError(f"{task.edited_path} at HEAD: it has {found}; the task says that it has {said}")
    return base


def check_labels(repository: Repository, base: str, task: Task) -> None:
    """Raises UsageError if a scorer's labels are not there, or are where every run sees them."""
    if task.scorer is None:
        return
    labels = Path(task.scorer.labels)
    if not labels.is_file():
        raise UsageError(f"scorer.labels {labels}: no such file")
    if labels.is_relative_to(repository.root) and repository.has_file(base, str(labels.relative_to(repository.root))):
        raise UsageError(f"scorer.labels {labels}: it is committed, so every run would see it; take it out of git")


def seconds_of(options: LaunchOptions, task: Task) -> float:
    """The budget of a trial. Raises UsageError if the task cannot be told another one than its own."""
    asked = options.search.max_train_seconds
    if asked is not None and asked != task.usual_seconds and not task.seconds.is_possible:
        raise UsageError(
            f"--max-train-seconds {asked:g}: the task {task.name} has no way to be told its budget ([seconds] in its "
            f"{FILE}); it takes {task.usual_seconds:g}"
        )
    return task.usual_seconds if asked is None else asked


def notes_about(task: Task) -> tuple[str, ...]:
    """What a person should know of a task before its search begins."""
    found = []
    if task.trust is Trust.REPORTED:
        found.append(
            f"{task.metric.name} is what each run reports itself: no scorer outside of it checks it (docs/trust.md)"
        )
    if not task.seed.is_possible:
        found.append("runs cannot be told a seed: repeats stand for seeds, if two runs of the baseline differ")
    return tuple(found)


def ready_to_go_on(options: LaunchOptions, repository: Repository, cluster: int | None = None) -> Ready:
    """The search that --resume names, after every check; otherwise as ready_to_begin."""
    assert options.resume is not None
    settings, decided = load_settings(repository, options.resume, "--resume ")
    gpu_model = options.gpu_model or settings.gpu_model
    before = str(settings.most_slots or "auto") if cluster is not None else str(settings.slots)
    most, slots, gpus = slots_here(gpu_model, options.gpus or before, cluster)
    if settings.on_gpus and cluster is None and not gpus and options.gpus is None:
        raise SearchError(
            f"search {settings.tag} ran on GPUs, and this machine shows none now: mend that (nvidia-smi), or name "
            f"--gpus {slots} to go on without, on logical slots, whose trials do not compare"
        )
    images, dataset = 0, ""
    notes: tuple[str, ...] = ()
    if settings.task.room:
        from search.cli.datasets import data_of_search

        dataset = os.path.abspath(options.search.dataset or settings.dataset)
        data, notes = data_of_search(settings, Path(dataset), options.search.dataset is not None)
        images = len(data.labels)
    return Ready(
        settings,
        slots,
        most,
        gpus,
        dataset,
        images,
        repository.root,
        repository.common_folder(),
        decided,
        cluster is not None,
        gpu_model,
        notes,
    )
