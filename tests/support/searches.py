"""One coordinator without Ray, with real trials; and a node of it without a network."""

from contextlib import contextmanager
from dataclasses import replace

import prepare
from search.cluster import remote_trial
from search.cluster.node import SearchFolder
from search.core.types import Change, Experiment, Kind, Work
from search.decide.plan import Limit, Pause
from search.driver.coordinator import Coordinator
from search.system.git import Repository
from search.trial.run import SlotSetup, run_trial
from tests.support.repositories import git
from tests.support.states import SETTINGS


def setup_of(repository, demo, slot=0, seconds=5.0):
    return SlotSetup(
        repository=str(repository),
        settings=settings_of(repository, demo, seconds=seconds),
        run=str(repository / "runs/t"),
        seal=str(repository.parent / "sealed"),
        slot=slot,
        gpu="",
        dataset=str(demo),
        threads=1,
    )


def settings_of(repository, demo, slots=1, seed=0, confirm_seeds=0, seconds=5.0, seal=""):
    return replace(
        SETTINGS,
        base=Repository(repository).commit_of("HEAD"),
        dataset=str(demo),
        fingerprint=prepare.load(demo).fingerprint,
        seed=seed,
        max_train_seconds=seconds,
        slots=slots,
        seal=seal,
        validation_images=len(prepare.load(demo).indices("validation")),
        confirm_seeds=confirm_seeds,
    )


@contextmanager
def coordinator_of(repository, demo=None, slots=1, limit=3, confirm_seeds=0, seal="", seed=0):
    coordinator = Coordinator(Repository(repository), "t", lambda line: None)
    try:
        if demo is not None:
            coordinator.begin(settings_of(repository, demo, slots, seed, confirm_seeds, seal=seal))
        else:
            coordinator.resume()
        for gpu in range(slots):
            coordinator.enrol(gpu, "here", str(gpu))
        coordinator.limit = Limit(limit)
        yield coordinator
    finally:
        coordinator.close()


def run_all(coordinator, setup, most=99):
    for _ in range(most):
        work = coordinator.next_work(0)
        if work is Pause.FINISHED:
            return
        coordinator.record(run_trial(setup, work))


def ledgers(repository):
    names = ("results.tsv", "gpu0/results.tsv", "decisions.jsonl", "trials.jsonl")
    return {name: (repository / "runs/t" / name).read_text() for name in names}


def agree(repository, coordinator):
    """Branches, refs, rows and decisions tell the same story."""
    state = coordinator.state
    rows = (repository / "runs/t/results.tsv").read_text().splitlines()[1:]
    assert [row.split("\t")[0] for row in rows] == [d.commit[:7] for d in state.verdicts.values()]
    assert len(rows) == len({d.experiment for d in state.decisions})
    assert git(repository, "rev-parse", "autoresearch/t").strip() == state.incumbent.commit
    for outcome in state.outcomes.values():
        assert git(repository, "rev-parse", f"refs/autoresearch/t/trials/{outcome.trial}").strip() == outcome.commit


class Killed(BaseException):
    """The machine dies here."""


def node_of(home, folder):
    """A node that has the search's repository, with its slot's setup."""
    setup, own_exchange = home
    place = SearchFolder(folder)
    remote_trial.begin(place, setup.settings.base, own_exchange)
    return remote_trial.setup_at(place, setup, setup.dataset)


def work_of(setup, number=1, seed=0):
    change = Change("lr", 0.01, 0.02)
    return Work(Experiment(number, Kind.SWEEP, setup.settings.base, (change,), f"lr 0.01 -> 0.02 ({number})"), seed)
