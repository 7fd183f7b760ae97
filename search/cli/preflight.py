"""Everything that is checked and settled before a search begins or goes on; nothing here changes anything."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import prepare
from search.agent.smoke import Places
from search.cli.options import LaunchOptions, cluster_slots, slot_count
from search.core.paths import SearchPaths, temporary_root
from search.core.recipe import read_recipe
from search.core.space import check_space, load_space, parse_space
from search.core.types import GitError, SearchError, Settings, UsageError
from search.records.journal import check_tag, load_settings
from search.system.git import Repository
from search.system.gpus import card_of, is_model, visible_gpus
from search.system.process import usable_cores
from search.task.metrics import ITEMS, POSITIVE
from search.task.scoring import majority_share
from search.trial import sealed
from search.trial.run import SlotSetup


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
    images: int
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
        photos = sealed.withheld(self.dataset, str(sealed.folder_of(self.settings)))
        secret = (*photos, self.git_folder, root / ".git", root / "runs", temporary_root(), *ray)
        threads = max(usable_cores() // 2, 1)
        return Places(self.settings.fingerprint, threads, None if unconfined else secret)

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
        verb = "would search" if self.decided is None else f"would go on, after {self.decided} experiments, with"
        return (
            f"{verb} {settings.tag}: {self.slots_in_words}, "
            f"{settings.max_train_seconds:g} s a trial, {experiments or 'endless'} experiments, {len(axes)} axes of "
            f"{settings.space_name}, agent {settings.agent}, data set {self.dataset} ({self.images} {ITEMS}, "
            f"{settings.image_size} px)"
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


def ready_to_begin(options: LaunchOptions, repository: Repository, cluster: int | None = None) -> Ready:
    """A fresh search, after every check. cluster: as in slots_here. Raises UsageError or SearchError."""
    most, slots, gpus = slots_here(options.gpu_model, options.gpus or "auto", cluster)
    asked = options.search
    tag = time.strftime("%b%d").lower() if asked.tag is None else asked.tag
    check_tag(repository, tag)
    folder = SearchPaths.of(repository.root, tag).root
    if folder.exists() and any(path.name != ".lock" for path in folder.iterdir()):
        raise UsageError(f"{folder}: holds files of another search; move it away, or name another with --tag")
    changed = repository.changed_files("train.py", "prepare.py")
    if changed:
        raise UsageError(
            f"{', '.join(changed)}: changed and not committed; the search starts from HEAD, so commit or stash it first"
        )
    base = repository.commit_of("HEAD")
    assert base is not None
    try:
        recipe = read_recipe(repository.file_at(base, "train.py"))
    except GitError as error:
        raise UsageError("HEAD has no train.py: commit one, with the hyperparameters in its class Recipe") from error
    except SearchError as error:
        raise UsageError(f"train.py at HEAD: {error}") from error
    file = asked.space if asked.space.is_absolute() or asked.space.exists() else repository.root / asked.space
    space = load_space(file)
    check_space(space, recipe)
    dataset = Path(os.path.abspath(asked.dataset))
    data = load_data(dataset)
    validation = data.indices("validation")
    together = data.groups[validation]
    if not asked.allow_degenerate and not data.classes.is_positive(data.labels[validation]).any():
        raise SearchError(
            f"{dataset}: none of the {len(validation)} validation {ITEMS} is {POSITIVE}, so no score there says "
            f"whether a model finds what it shall: add {POSITIVE} {ITEMS}, or begin all the same with "
            "--allow-degenerate"
        )
    settings = Settings(
        tag=tag,
        base=base,
        dataset=str(dataset),
        fingerprint=data.fingerprint,
        image_size=data.image_size,
        majority_score=majority_share(data),
        space=file.read_text(encoding="utf-8"),
        space_name=str(asked.space),
        seed=asked.seed,
        max_train_seconds=asked.max_train_seconds,
        slots=slots,
        created=time.time(),
        validation_images=len(validation),
        validation_groups=tuple(together.tolist()) if len(set(together)) < len(together) else (),
        confirm_seeds=asked.confirm_seeds,
        allow_degenerate=asked.allow_degenerate,
        agent=asked.agent,
        gpu_dollars_per_hour=asked.gpu_dollars_per_hour,
        most_slots=most if cluster is not None else None,
        gpu_model=options.gpu_model,
        on_gpus=bool(gpus),
        proof_share=asked.proof_share,
    )
    settings = replace(settings, seal=str(sealed.folder_of(settings)))
    images, root = len(data.labels), repository.root
    git_folder, joined = repository.common_folder(), cluster is not None
    return Ready(
        settings, slots, most, gpus, settings.dataset, images, root, git_folder, None, joined, options.gpu_model
    )


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
    dataset = Path(os.path.abspath(options.search.dataset if "dataset" in options.named else settings.dataset))
    data, notes = data_of_search(settings, dataset, "dataset" in options.named)
    return Ready(
        settings,
        slots,
        most,
        gpus,
        str(dataset),
        len(data.labels),
        repository.root,
        repository.common_folder(),
        decided,
        cluster is not None,
        gpu_model,
        notes,
    )


def data_of_search(settings: Settings, dataset: Path, was_named: bool) -> tuple[prepare.Data, tuple[str, ...]]:
    """The data set that a search began with, and what is to be said of it: its photos may have changed since, and then
    it goes on with what it decoded. was_named: somebody says that this folder has it. Raises SearchError."""
    try:
        data = load_data(dataset)
        problem = "" if data.fingerprint == settings.fingerprint else "its photos are others now"
    except SearchError as error:
        if was_named:
            raise
        problem = str(error).splitlines()[0]
    if not problem:
        return data, ()
    kept = None if was_named else prepare.cached(settings.fingerprint)
    if kept is None:
        raise SearchError(
            f"the data set {dataset} is not the one that search {settings.tag} began with; bring that one back, name "
            "the folder that has it with --dataset, or start a fresh search"
        )
    return kept, (f"the data set {dataset} has changed ({problem}); {settings.tag} goes on with what it began with",)


def load_data(dataset: Path) -> prepare.Data:
    """The decoded data set. Raises SearchError if it cannot be used for a search."""
    try:
        data = prepare.load(dataset)
    except prepare.DataError as error:
        raise SearchError(str(error)) from error
    for part in prepare.PARTS:
        if not len(data.indices(part)):
            raise SearchError(f"{dataset}: too few {ITEMS}: the {part} part is empty")
    return data
