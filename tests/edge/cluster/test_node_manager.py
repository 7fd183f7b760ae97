"""A node manager: what it hands over, and what it leaves."""

from search.cluster import remote_trial
from search.cluster.node_manager import NodeManager
from search.trial.run import read_outcome, run_trial
from tests.support.repositories import git
from tests.support.searches import work_of


def node_manager_of(home, tmp_path, monkeypatch):
    monkeypatch.setenv("AUTORESEARCH_NODE", str(tmp_path / "node"))
    setup, own_exchange = home
    return NodeManager("search", setup, 2, own_exchange)


def test_a_keeper_hands_over_what_is_wanted_and_leaves_the_node_as_it_was(home, tmp_path, monkeypatch):
    setup, own_exchange = home
    node_manager = node_manager_of(home, tmp_path, monkeypatch)
    report = node_manager.arrive()
    assert len(report.cards) == 2 and report.left == []
    assert node_manager.get_ready() == setup.dataset
    there = remote_trial.setup_at(node_manager.folder, setup, setup.dataset)
    outcomes = [run_trial(there, work_of(setup, number)) for number in (1, 2)]
    again = NodeManager("search", setup, 2, own_exchange)  # Ray was started anew on this node
    assert sorted(again.arrive().left) == ["e0001-s0", "e0002-s0"]
    assert again.hand_over(["e0002-s0", "e0099-s0"]) == ["e0002-s0"]
    assert read_outcome(own_exchange.run.slot(0).trial("e0002-s0")) == outcomes[1]
    assert again.arrive().left == []
    assert (node_manager.folder.run.slot(0).tree / "train.py").exists()
    again.end([])
    assert not node_manager.folder.root.exists()
    assert git(tmp_path / "project", "worktree", "list").count("\n") == 1
