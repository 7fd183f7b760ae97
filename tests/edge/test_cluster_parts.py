"""What lies between two machines, without Ray: commits, data set, deliveries, notices; each cut short at every step."""

import json
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

import prepare
from search.cluster import exchange, git_packs, remote_trial
from search.cluster.dataset import batches, find_or_fetch
from search.cluster.exchange import ArtifactExchange, Shared
from search.cluster.node import SearchFolder, node_name
from search.cluster.node_manager import NodeManager
from search.cluster.preemption import NOTICE_FILE, notice
from search.core.types import Change, Experiment, GitError, Kind, Score, SearchError, Status, Work
from search.decide.plan import Pause
from search.system.git import Repository
from search.task.demo_images import draw
from search.trial import sealed
from search.trial.run import read_outcome, run_trial
from tests.conftest import git
from tests.edge.test_trials_and_resume import coordinator_of, setup_of


class Killed(BaseException):
    """The machine dies here."""


@pytest.fixture
def home(fast_repository, demo):
    """The driver's machine: its repository, a slot's setup there, and its exchange."""
    setup = setup_of(fast_repository, demo)
    shared = Shared(setup.repository, setup.run, "t", setup.base, setup.seal, setup.dataset)
    return setup, ArtifactExchange(shared)


def node_of(home, folder):
    """A node that has the search's repository, with its slot's setup."""
    setup, own_exchange = home
    place = SearchFolder(folder)
    remote_trial.begin(place, setup.base, own_exchange)
    return remote_trial.setup_at(place, setup, setup.dataset)


def work_of(setup, number=1, seed=0):
    change = Change("lr", 0.01, 0.02)
    return Work(Experiment(number, Kind.SWEEP, setup.base, (change,), f"lr 0.01 -> 0.02 ({number})"), seed)


def test_a_node_gets_what_it_lacks_and_no_more(home, tmp_path):
    repository = Repository(tmp_path / "project")
    (repository.root / "large.bin").write_bytes(bytes(range(256)) * 4000)
    git(repository.root, "add", "large.bin")
    git(repository.root, "commit", "-qm", "more")
    base = repository.commit_of("HEAD")
    first = git_packs.snapshot(repository, base)
    git_packs.begin_bare(tmp_path / "there", base, first)
    there = Repository(tmp_path / "there")
    assert there.file_at(base, "train.py") == repository.file_at(base, "train.py")
    assert there.run("rev-list", "--count", base) == "1"  # not the commits before it
    edited = repository.commit_edit(base, "train.py", "print(1)\n", "an edit", "test")
    again = repository.commit_edit(edited, "train.py", "print(2)\n", "another", "test")
    change = git_packs.pack(repository, again, [base])
    assert len(change) < 1500 < len(first)
    git_packs.unpack(there, change)
    assert there.file_at(again, "train.py") == "print(2)\n"
    assert there.run("fsck", "--connectivity-only", again).strip() == ""
    assert len(git_packs.pack(repository, again, [edited, "0" * 40])) < len(
        change
    )  # of unknown commits nothing is heard


def test_torn_packs_are_refused(home, tmp_path):
    setup, own_exchange = home
    data = own_exchange.base()
    with pytest.raises(GitError):
        git_packs.begin_bare(tmp_path / "there", setup.base, data[: len(data) // 2])
    assert not git_packs.is_begun(tmp_path / "there", setup.base)
    (tmp_path / "there").mkdir(exist_ok=True)
    (tmp_path / "there/config.lock").touch()  # a git was killed here
    git_packs.begin_bare(tmp_path / "there", setup.base, data)
    assert git_packs.is_begun(tmp_path / "there", setup.base)


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
            remote_trial.deliver(there, outcome, setup.base, own_exchange)
    finished = read_outcome(own_exchange.run.slot(0).trial(outcome.trial)) is not None
    assert finished == ((step, when) == ("write_json", "behind"))
    assert [left.trial for left in remote_trial.left_here(SearchFolder(tmp_path / "node"))] == [outcome.trial]
    remote_trial.deliver(there, outcome, setup.base, own_exchange)
    assert read_outcome(own_exchange.run.slot(0).trial(outcome.trial)) == outcome
    assert own_exchange.repository.commit_of("refs/autoresearch/t/trials/e0001-s0") == outcome.commit
    assert own_exchange.run.slot(0).trial(outcome.trial).log.read_text().count("step 1 |") == 1
    assert remote_trial.left_here(SearchFolder(tmp_path / "node")) == []


def test_progress_is_shown_at_home_without_a_process_id(home):
    own_exchange = home[1]
    stale = own_exchange.run.slot(0).trial("e0001-s0")
    own_exchange.mirror(0, "e0001-s0", {"pid": 1, "commit": "x"}, 0, remote_trial.zlib.compress(b"step 1\n"))
    assert json.loads(stale.running.read_text()) == {"commit": "x"}
    for _ in range(2):  # a message that is sent again changes nothing
        own_exchange.mirror(0, "e0002-s0", {"pid": 1, "commit": "y"}, 0, remote_trial.zlib.compress(b"step 2\n"))
    own_exchange.mirror(0, "e0002-s0", {"pid": 1, "commit": "y"}, 7, remote_trial.zlib.compress(b"step 3\n"))
    assert own_exchange.run.slot(0).trial("e0002-s0").log.read_text() == "step 2\nstep 3\n"
    assert not stale.running.exists()  # its node was lost


def test_a_node_keeps_its_name(tmp_path):
    first = node_name(tmp_path / "a")
    assert node_name(tmp_path / "a") == first
    names = []
    threads = [threading.Thread(target=lambda: names.append(node_name(tmp_path / "b"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(names)) == 1
    assert node_name(tmp_path / "b") != first
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["name"]


# --- the data set ---------------------------------------------------------------------------------------------------


def test_the_data_set_comes_once_is_verified_and_its_photos_do_not_stay(home, tmp_path, monkeypatch):
    setup, own_exchange = home
    monkeypatch.setenv("AUTORESEARCH_CACHE", str(tmp_path / "cache of the node"))
    asked = []
    real = own_exchange.image_bytes
    monkeypatch.setattr(own_exchange, "image_bytes", lambda paths: asked.append(paths) or real(paths))
    aside = tmp_path / "aside"
    assert find_or_fetch("/not/here", setup.fingerprint, aside, own_exchange) == ""
    assert prepare.cached(setup.fingerprint).fingerprint == setup.fingerprint
    assert not aside.exists()
    assert find_or_fetch("/not/here", setup.fingerprint, aside, own_exchange) == ""
    assert len(asked) == 1
    assert find_or_fetch(setup.dataset, setup.fingerprint, aside, own_exchange) == setup.dataset  # at the same path
    assert len(asked) == 1


def test_a_fetch_that_died_goes_on_where_it_was(home, tmp_path, monkeypatch):
    setup, own_exchange = home
    monkeypatch.setenv("AUTORESEARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("search.cluster.dataset.BATCH_BYTES", 20_000)
    monkeypatch.setattr(batches, "__defaults__", (20_000,))
    real, calls = own_exchange.image_bytes, []

    def dies_at_the_third(paths):
        calls.append(paths)
        if len(calls) == 3:
            raise Killed
        return real(paths)

    monkeypatch.setattr(own_exchange, "image_bytes", dies_at_the_third)
    with pytest.raises(Killed):
        find_or_fetch("/not/here", setup.fingerprint, tmp_path / "aside", own_exchange)
    assert find_or_fetch("/not/here", setup.fingerprint, tmp_path / "aside", own_exchange) == ""
    came = [path for batch in calls[:2] + calls[3:] for path in batch]
    assert len(came) == len(set(came)) == len(own_exchange.images())


def test_another_data_set_is_not_taken_for_it(home, tmp_path, monkeypatch):
    own_exchange = home[1]
    monkeypatch.setenv("AUTORESEARCH_CACHE", str(tmp_path / "cache"))
    other = tmp_path / "other"
    draw(other, 120)
    with pytest.raises(SearchError, match="the data set came as"):
        find_or_fetch(str(other), "0" * 64, tmp_path / "aside", own_exchange)
    with pytest.raises(SearchError, match="not files of the data set"):
        own_exchange.image_bytes(["../secret"])


# --- node managers, notices, cards ----------------------------------------------------------------------------------------


def node_manager_of(home, tmp_path, monkeypatch):
    monkeypatch.setenv("AUTORESEARCH_NODE", str(tmp_path / "node"))
    setup, own_exchange = home
    return NodeManager("search", setup, 2, own_exchange)


def test_a_keeper_hands_over_what_is_wanted_and_leaves_the_node_as_it_was(home, tmp_path, monkeypatch):
    setup, own_exchange = home
    node_manager = node_manager_of(home, tmp_path, monkeypatch)
    told = node_manager.arrive()
    assert len(told.cards) == 2 and told.left == []
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


class Metadata(BaseHTTPRequestHandler):
    """A cloud's metadata service, as AWS and GCP have one."""

    told = ""

    def do_PUT(self):
        self._say("token" if "ttl" in str(self.headers).lower() else "")

    def do_GET(self):
        path = self.path
        if path.endswith("spot/instance-action"):
            known = self.headers["X-aws-ec2-metadata-token"] == "token"
            self._say(Metadata.told if known else "", 200 if known and Metadata.told else 404)
        else:
            known = self.headers["Metadata-Flavor"] == "Google"
            self._say("TRUE" if Metadata.told and known else "FALSE")

    def _say(self, text, code=200):
        self.send_response(code)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *arguments):
        pass


def test_notices_of_a_node_that_will_go(tmp_path):
    assert notice(tmp_path, {"AUTORESEARCH_CLOUD": ""}) == ""
    server = HTTPServer(("127.0.0.1", 0), Metadata)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        for cloud in ("aws", "gcp"):
            about = {"AUTORESEARCH_CLOUD": cloud, "AUTORESEARCH_METADATA": f"http://127.0.0.1:{server.server_port}"}
            Metadata.told = ""
            assert notice(tmp_path, about) == ""
            Metadata.told = '{"action": "terminate"}'
            assert notice(tmp_path, about).startswith("spot reclaim: ")
    finally:
        server.shutdown()
        server.server_close()
    gone = {"AUTORESEARCH_CLOUD": "aws", "AUTORESEARCH_METADATA": f"http://127.0.0.1:{server.server_port}"}
    assert notice(tmp_path, gone) == ""  # no answer is no notice
    (tmp_path / NOTICE_FILE).write_text("maintenance\n")
    assert notice(tmp_path, gone) == "told to leave: maintenance"


def test_running_out_of_memory_counts_only_on_the_largest_card(fast_repository, demo):
    with coordinator_of(fast_repository, demo, limit=2) as coordinator:
        lines = []
        coordinator.tell = lines.append
        coordinator.enrol(0, "a", "0", "a", "T4", 16_000.0)
        coordinator.enrol(1, "b", "0", "b", "A100", 80_000.0)
        setup = setup_of(fast_repository, demo)
        coordinator.record(run_trial(setup, coordinator.next_work(0)))
        work = coordinator.next_work(0)
        failed = replace(run_trial(setup, work), score=None, reason="out of memory: CUDA out of memory")
        coordinator.record(failed)
        assert len(coordinator.state.decisions) == 1
        assert any("run again on a larger GPU" in line for line in lines)
        other = coordinator.next_work(0)
        assert other.experiment.number != work.experiment.number  # not on the small card again
        again = coordinator.next_work(1)
        assert (again.experiment.number, again.attempt) == (work.experiment.number, 2)
        coordinator.record(replace(failed, trial=again.trial_id, slot=1))
        assert coordinator.state.verdicts[work.experiment.number].status is Status.CRASH


def test_what_the_incumbent_needs_keeps_small_cards_from_what_would_not_fit(fast_repository, demo):
    with coordinator_of(fast_repository, demo) as coordinator:
        coordinator.enrol(0, "b", "0", "b", "A100", 80_000.0)
        coordinator.enrol(1, "a", "0", "a", "T4", 16_000.0)
        outcome = run_trial(setup_of(fast_repository, demo), coordinator.next_work(0))
        coordinator.record(replace(outcome, memory_mb=20_000.0))
        assert coordinator.next_work(1) is Pause.WAIT
        assert isinstance(coordinator.next_work(0), Work)
        coordinator.leave(0, "gone")
        assert isinstance(coordinator.next_work(1), Work)  # better a crash than nothing


def test_a_trial_lost_with_its_node_is_begun_again_and_recorded_once(fast_repository, demo):
    with coordinator_of(fast_repository, demo, slots=2, limit=1) as coordinator:
        first, lost = coordinator.next_work(0), coordinator.next_work(1)
        coordinator.leave(1, "its node has gone")
        coordinator.lost_with_its_node(lost, 1)
        again = coordinator.next_work(0)
        assert (again.experiment, again.seed, again.attempt) == (lost.experiment, lost.seed, 2)
        setup = setup_of(fast_repository, demo)
        for work in (first, again):
            coordinator.record(run_trial(setup, work))
        late = replace(run_trial(replace(setup, slot=1), lost), score=Score(1.0, 1.0))  # the node is back, and tells
        coordinator.record(late)
        assert [decision.experiment for decision in coordinator.state.decisions] == [0]
        assert all(outcome.score != late.score for outcome in coordinator.state.outcomes.values())
        rows = (fast_repository / "runs/t/trials.jsonl").read_text().splitlines()
        assert sorted(json.loads(row)["trial"] for row in rows) == sorted((first.trial_id, again.trial_id))
