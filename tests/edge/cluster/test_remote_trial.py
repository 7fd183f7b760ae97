"""A trial away from home, and its delivery, cut short at every step."""

from dataclasses import replace

import pytest

from search.cluster import exchange, git_packs, remote_trial
from search.cluster.exchange import ArtifactExchange
from search.cluster.node import SearchFolder
from search.system.git import Repository
from search.trial import sealed
from search.trial.run import read_outcome, run_trial
from tests.support.searches import Killed, node_of, work_of


def test_a_trial_elsewhere_leaves_at_home_what_one_at_home_leaves(home, tmp_path):
    setup, own_exchange = home
    there = node_of(home, tmp_path / "node")
    outcome = remote_trial.run_remotely(there, work_of(setup), own_exchange)
    assert not outcome.crashed
    paths = own_exchange.run.slot(0).trial(outcome.trial)
    assert read_outcome(paths) == outcome
    assert "step 1" in paths.log.read_text()
    repository = Repository(tmp_path / "project")
    for ref in ("refs/autoresearch/t/trials/e0001-s0", "refs/heads/autoresearch/t-gpu0"):
        assert repository.commit_of(ref) == outcome.commit
    assert "lr: float = 0.02" in repository.file_at(outcome.commit, "train.py")
    saved = sealed.read(tmp_path / "sealed", outcome.trial)
    assert saved is not None and saved[0].shape[1] == 5
    local = run_trial(replace(setup, slot=1), replace(work_of(setup), seed=0))
    assert local.score == outcome.score  # where it ran changes nothing
    assert remote_trial.left_here(SearchFolder(tmp_path / "node")) == []
    assert not (tmp_path / "node/run/gpu0/trials/e0001-s0").exists()
    assert not list((tmp_path / "node/sealed").glob("*.npz"))


STEPS = ["packs.unpack", "Repository.set_ref", "sealed.store", "ArtifactExchange._add_to_log", "write_json"]


@pytest.mark.parametrize("when", [pytest.param("before", marks=pytest.mark.full), "behind"])
@pytest.mark.parametrize("step", STEPS)
def test_a_delivery_that_dies_anywhere_is_delivered_again_once(home, tmp_path, monkeypatch, step, when):
    """The driver's machine dies within deliver, at each of its steps; the node still has all, and sends it again."""
    setup, own_exchange = home
    there = node_of(home, tmp_path / "node")
    outcome = run_trial(there, work_of(setup))
    owner, _, name = step.rpartition(".")
    holder = {
        "packs": git_packs,
        "Repository": Repository,
        "sealed": sealed,
        "ArtifactExchange": ArtifactExchange,
        "": exchange,
    }[owner]
    real = getattr(holder, name)

    def dies(*arguments, **named):
        if when == "behind":
            real(*arguments, **named)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(holder, name, dies)
        with pytest.raises(Killed):
            remote_trial.deliver(there, outcome, setup.settings.base, own_exchange)
    finished = read_outcome(own_exchange.run.slot(0).trial(outcome.trial)) is not None
    assert finished == ((step, when) == ("write_json", "behind"))
    assert [left.trial for left in remote_trial.left_here(SearchFolder(tmp_path / "node"))] == [outcome.trial]
    remote_trial.deliver(there, outcome, setup.settings.base, own_exchange)
    assert read_outcome(own_exchange.run.slot(0).trial(outcome.trial)) == outcome
    assert own_exchange.repository.commit_of("refs/autoresearch/t/trials/e0001-s0") == outcome.commit
    assert own_exchange.run.slot(0).trial(outcome.trial).log.read_text().count("step 1 |") == 1
    assert remote_trial.left_here(SearchFolder(tmp_path / "node")) == []
