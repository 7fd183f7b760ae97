"""One coordinator without Ray, with real trials: every way to fail is a row, and nothing is lost by dying."""

import json
import os
import shutil
from contextlib import contextmanager
from dataclasses import replace

import pytest

import prepare
from search import audit
from search.core.recipe import values_of
from search.core.state import start_record
from search.core.types import (
    Change,
    Experiment,
    Kind,
    Purpose,
    Score,
    SearchError,
    Settings,
    Status,
    UsageError,
    Work,
)
from search.decide.plan import Limit, Pause
from search.decide.studies import Studies
from search.driver.coordinator import BaselineFailed, Coordinator
from search.records.ledgers import RunFiles
from search.records.results_tsv import read_rows, render
from search.report.frontier import steps
from search.report.history import History
from search.report.summary import merged_rows, summarise
from search.system.git import Repository
from search.task.screening import rightly_told
from search.trial import sealed
from search.trial.run import SlotSetup, run_trial
from tests.conftest import FAST_SPACE, FAST_TRAIN, git, make_repository

BREAKS = {
    "exit": ("raise SystemExit('no way')", "exit code 1: no way"),
    "raise": ("raise KeyError('gone')", "exit code 1: KeyError: 'gone'"),
    "killed": ("os.kill(os.getpid(), 9)", "killed by signal 9"),
    "memory": ("raise MemoryError('CUDA out of memory')", "out of memory"),
    "silent": ("sys.exit(0)", "printed no footer"),
    "nan": ("print('---'); print('mc_acc: nan'); print('bin_acc: nan'); sys.exit(0)", "mc_acc in its footer is nan"),
    "half": ("print('---'); print('mc_acc: 0.5'); sys.exit(0)", "no bin_acc"),
    "forged": (
        "print('---'); print('mc_acc: 0.99'); print('bin_acc: 0.99'); sys.exit(0)",
        "handed nothing to the scorer",
    ),
    "hung": ("time.sleep(600)", "did not end"),
}


def setup_of(repository, demo, slot=0, seconds=5.0):
    return SlotSetup(
        repository=str(repository),
        run=str(repository / "runs/t"),
        tag="t",
        base=Repository(repository).commit_of("HEAD"),
        seal=str(repository.parent / "sealed"),
        slot=slot,
        gpu=str(slot),
        dataset=str(demo),
        fingerprint=prepare.load(demo).fingerprint,
        max_train_seconds=seconds,
        threads=1,
    )


def settings_of(repository, demo, slots=1, seed=0, confirm_seeds=0):
    return Settings(
        "t",
        Repository(repository).commit_of("HEAD"),
        str(demo),
        prepare.load(demo).fingerprint,
        64,
        0.9,
        FAST_SPACE,
        "fast.toml",
        seed,
        5.0,
        slots,
        0.0,
        validation_photos=len(prepare.load(demo).indices("validation")),
        confirm_seeds=confirm_seeds,
    )


@contextmanager
def coordinator_of(repository, demo=None, slots=1, limit=3, confirm_seeds=0):
    coordinator = Coordinator(Repository(repository), "t", lambda line: None)
    try:
        if demo is not None:
            coordinator.begin(settings_of(repository, demo, slots, confirm_seeds=confirm_seeds))
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


@pytest.mark.parametrize("kind", sorted(BREAKS))
def test_every_way_to_fail_is_a_crash_with_its_reason(tmp_path, demo, kind, monkeypatch):
    body, words = BREAKS[kind]
    monkeypatch.setattr("search.trial.run.SHORTEST_REST", 2.0)
    marker = 'print("step 1 | loss 1.0", flush=True)\n'
    train = FAST_TRAIN.replace(marker, marker + f'if recipe.mode == "bad":\n    {body}\n')
    repository = make_repository(tmp_path / "project", train)
    base = Repository(repository).commit_of("HEAD")
    change = (Change("mode", "good", "bad"),)
    work = Work(Experiment(1, Kind.SWEEP, base, change, "mode good -> bad"), 0)
    setup = setup_of(repository, demo, seconds=0.5)
    outcome = run_trial(setup, work)
    assert outcome.score is None
    assert words in outcome.reason
    good = run_trial(setup, Work(Experiment(2, Kind.SWEEP, base, (Change("lr", 0.01, 0.05),), "lr"), 0))
    assert good.score is not None
    assert run_trial(setup, work) == outcome  # an outcome that is there is not made again


def test_a_footer_that_differs_from_the_predictions_is_a_crash(tmp_path, demo):
    train = FAST_TRAIN.replace("{scores['bin_acc']:.6f}", "{0.999:.6f}")
    repository = make_repository(tmp_path / "project", train)
    work = Work(Experiment(0, Kind.BASELINE, Repository(repository).commit_of("HEAD")), 0)
    assert "the footer tells bin_acc 0.999" in run_trial(setup_of(repository, demo), work).reason


def test_a_changed_data_set_is_no_score(fast_repository, demo, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(demo, copy)
    setup = setup_of(fast_repository, copy)
    next((copy / "class_0").iterdir()).unlink()
    work = Work(Experiment(0, Kind.BASELINE, Repository(fast_repository).commit_of("HEAD")), 0)
    assert "has changed since the search began" in run_trial(setup, work).reason


def test_a_search_keeps_by_the_rules_and_every_commit_stays_reachable(fast_repository, demo):
    with coordinator_of(fast_repository, demo, limit=5) as coordinator:
        run_all(coordinator, setup_of(fast_repository, demo))
        assert len(coordinator.state.decisions) == 6
        best = None
        for decision in coordinator.state.decisions:
            key = (decision.score.bin_acc, decision.score.mc_acc)
            assert (decision.status is Status.KEEP) == (best is None or key > best)
            best = key if decision.status is Status.KEEP else best
        agree(fast_repository, coordinator)
        for decision in coordinator.state.decisions[1:]:
            recipe = values_of(git(fast_repository, "show", f"{decision.commit}:train.py"))
            assert all(recipe[change.axis] == change.new for change in decision.changes)
            files = git(fast_repository, "diff", "--name-only", f"{decision.commit}^", decision.commit).split()
            assert files == ["train.py"]


def test_what_is_kept_was_confirmed_and_rows_can_be_checked_against_decisions(fast_repository, demo):
    with coordinator_of(fast_repository, demo, limit=14, confirm_seeds=2) as coordinator:
        run_all(coordinator, setup_of(fast_repository, demo))
        state = coordinator.state
        kept = state.kept[1:]
        assert kept, "the search of this seed keeps something"
        for decision in kept:
            assert len(decision.seeds) >= 3
            ours = [state.outcomes[(decision.experiment, seed)].score.bin_acc for seed in decision.seeds]
            assert decision.score.bin_acc == pytest.approx(sum(ours) / len(ours), abs=1e-6)
            assert set(decision.seeds) & set(decision.incumbent_seeds)
            assert decision.score.bin_acc >= decision.incumbent_score.bin_acc
            assert 0 < decision.estimate < 1 and 0 < decision.probability < 1
        assert len(state.verdicts) == 15
        agree(fast_repository, coordinator)
        frontier = steps([placed.row for placed in read_rows(fast_repository / "runs/t/results.tsv")])
        assert [step.row.commit for step in frontier if step.is_incumbent] == [d.commit[:7] for d in state.frontier]
    before = ledgers(fast_repository)
    with coordinator_of(fast_repository, limit=14) as coordinator:
        assert ledgers(fast_repository) == before
        agree(fast_repository, coordinator)


@pytest.mark.full
def test_an_incumbent_found_out_gives_its_place_back_and_its_row_says_so(fast_repository, demo, monkeypatch):
    with coordinator_of(fast_repository, demo, limit=14, confirm_seeds=2) as coordinator:
        run_all(coordinator, setup_of(fast_repository, demo))
        state = coordinator.state
        incumbent, before = state.incumbent, state.frontier[-2]
        work = Work(state.experiments[incumbent.experiment], 77, commit=incumbent.commit, purpose=Purpose.CONFIRM)
        coordinator._journal(start_record(work))
        low = replace(state.outcomes_of(incumbent.experiment)[0], trial=work.trial_id, seed=77, score=Score(0.1, 0.1))
        coordinator.repository.set_ref(coordinator.names.trial_ref(work.trial_id), incumbent.commit)
        coordinator.record(low)
        assert coordinator.state.incumbent.commit == before.commit
        agree(fast_repository, coordinator)
        rows = (fast_repository / "runs/t/results.tsv").read_text().splitlines()[1:]
        row = next(row for row in rows if row.startswith(incumbent.commit[:7]))
        assert "\tdiscard\t" in row
        assert "below its predecessor" in coordinator.state.decisions[-1].reason
    files = sorted(fast_repository.glob("runs/t/gpu*/results.tsv"))
    assert render(merged_rows(files, History(None))) == (fast_repository / "runs/t/results.tsv").read_text()
    with coordinator_of(fast_repository, limit=14) as coordinator:
        assert coordinator.state.incumbent.commit == before.commit


def test_the_test_photos_are_opened_once_and_a_search_that_goes_on_says_so(fast_repository, demo, monkeypatch):
    monkeypatch.setattr(audit, "find_repository", lambda folder: Repository(fast_repository))
    settings = settings_of(fast_repository, demo)
    setup = replace(setup_of(fast_repository, demo), seal=str(sealed.folder_of(settings)))
    with coordinator_of(fast_repository, demo, limit=6) as coordinator:
        run_all(coordinator, setup)
        shown = [path for path in (fast_repository / "runs").rglob("*") if path.is_file() and "tree" not in path.parts]
        assert len(shown) > 10 and not any("test_bin_acc" in path.read_text(errors="replace") for path in shown)
        with pytest.raises(SearchError, match="running already"):
            audit.audit("t", None, print)
    found = audit.audit("t", None, print)
    data = prepare.load(demo)
    assert found["test_photos"] == len(data.indices("test")) and found["experiments"] == 6
    saved = sealed.read(sealed.folder_of(settings), "e0000-s0")
    right = rightly_told(saved[1], data.labels[data.indices("test")])
    assert found["baseline"]["test_bin_acc"] == pytest.approx(right.mean(), abs=1e-6)
    low, high = found["gain_interval"]
    assert low <= found["gain"] <= high and 0 < found["p_value"] <= 1 and found["smallest_gain"] > 0
    assert "spent" in audit.told("t", found)
    assert audit.audit("t", None, print) == found
    git(fast_repository, "clean", "-ffdxq")
    with coordinator_of(fast_repository, limit=6) as coordinator:
        assert coordinator.state.audit == found
        files = sorted(fast_repository.glob("runs/t/gpu*/results.tsv"))
        analysis = summarise(files, fast_repository / "runs/t", History(Repository(fast_repository)))
        assert analysis["test_opened"]["opened"] == found["opened"]
        assert "test photos were opened" in (fast_repository / "runs/t/analysis_summary.md").read_text()


def test_an_audit_of_nothing_is_one_line(fast_repository, demo, monkeypatch, capsys):
    monkeypatch.setattr(audit, "find_repository", lambda folder: Repository(fast_repository))
    assert audit.main(["nowhere"]) == 2
    assert "nowhere: no such search" in capsys.readouterr().err
    with coordinator_of(fast_repository, demo, limit=1) as coordinator:
        run_all(coordinator, replace(setup_of(fast_repository, demo), seal=str(fast_repository.parent / "gone")))
    assert audit.main(["t"]) == 1
    assert "nothing can be opened" in capsys.readouterr().err
    assert audit.main(["t", "--dataset", "/nowhere"]) == 1
    assert Repository(fast_repository).read_records("refs/autoresearch/t/journal")[-1]["event"] != "audit"


def test_a_trial_on_a_slow_slot_is_marked_and_can_be_run_again(fast_repository, demo):
    with coordinator_of(fast_repository, demo, limit=4) as coordinator:
        setup = setup_of(fast_repository, demo)
        for _ in range(3):
            coordinator.record(replace(run_trial(setup, coordinator.next_work(0)), machine="card"))
        work = coordinator.next_work(0)
        slow = run_trial(setup, work)
        slow = replace(slow, speed=slow.speed | {"probe": 0.5}, machine="card")
        coordinator.rerun_slow = True
        coordinator.record(slow)
        again = coordinator.next_work(0)
        assert (again.experiment, again.seed, again.attempt) == (work.experiment, work.seed, 2)
        coordinator.record(replace(run_trial(setup, again), speed={"probe": 0.5}, machine="card"))  # once only
        assert "its slot ran at 50%" in coordinator.state.decisions[-1].note
        assert coordinator.state.set_aside == {slow.trial}


def test_experiments_that_ended_before_the_baseline_are_decided_right_behind_it(fast_repository, demo):
    with coordinator_of(fast_repository, demo, slots=2, limit=3) as coordinator:
        late = coordinator.next_work(1)
        for _ in range(4):
            work = coordinator.next_work(0)
            coordinator.record(run_trial(setup_of(fast_repository, demo, 0), work))
        assert coordinator.next_work(0) is Pause.WAIT
        assert coordinator.state.decisions == []
        coordinator.record(run_trial(setup_of(fast_repository, demo, 1), late))
        assert [decision.experiment for decision in coordinator.state.decisions] == [0, 1, 2, 3]
        assert coordinator.next_work(0) is Pause.FINISHED
        agree(fast_repository, coordinator)


def test_two_drivers_cannot_run_one_search(fast_repository, demo):
    with coordinator_of(fast_repository, demo), pytest.raises(SearchError, match="running already"):
        Coordinator(Repository(fast_repository), "t")


STEPS = {  # what a driver does, how often in this search, and the calls before which `make test` lets it die
    (Coordinator, "_journal"): (16, (4, 6)),
    (Coordinator, "_write_branches"): (4, (2,)),
    (Studies, "told"): (4, (2,)),
    (Repository, "set_ref"): (6, (2,)),
    (RunFiles, "add_outcome"): (4, (1,)),
    (RunFiles, "add_decision"): (4, (1,)),
}
DEATHS = [
    pytest.param(*step, call, id=f"{step[1]}-{call}", marks=[] if call in sampled else pytest.mark.full)
    for step, (calls, sampled) in STEPS.items()
    for call in range(1, calls + 1)
]


@pytest.mark.parametrize(("owner", "point", "call"), DEATHS)
def test_dying_between_any_two_steps_loses_no_finished_trial(fast_repository, demo, monkeypatch, owner, point, call):
    class Died(BaseException):
        pass

    setup = setup_of(fast_repository, demo)
    original = getattr(owner, point)
    calls = 0

    def dies(self, *arguments):
        nonlocal calls
        calls += 1
        if calls == call:
            raise Died
        return original(self, *arguments)

    with coordinator_of(fast_repository, demo, limit=3) as coordinator:
        monkeypatch.setattr(owner, point, dies)
        with pytest.raises(Died):
            run_all(coordinator, setup)
        monkeypatch.setattr(owner, point, original)
    finished = len(list(fast_repository.glob("runs/t/gpu0/trials/*/outcome.json")))
    with coordinator_of(fast_repository, limit=3) as coordinator:
        assert len(coordinator.state.outcomes) == finished
        run_all(coordinator, setup)
        assert len(coordinator.state.decisions) == 4
        agree(fast_repository, coordinator)
    after = ledgers(fast_repository)
    with coordinator_of(fast_repository, limit=3):
        assert ledgers(fast_repository) == after


def story(coordinator):
    """What a search decided, without what differs from one time to the next."""
    decisions = coordinator.state.decisions
    return [(d.experiment, d.status, d.score, d.seeds, d.incumbent_seeds, d.probability, d.reason) for d in decisions]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, demo):
    """The story of a search with races that nothing disturbed, and how many records it wrote."""
    repository = make_repository(tmp_path_factory.mktemp("undisturbed") / "project", FAST_TRAIN)
    with coordinator_of(repository, demo, limit=5, confirm_seeds=2) as coordinator:
        run_all(coordinator, setup_of(repository, demo))
        assert len(coordinator.state.kept) > 1
        return story(coordinator), len(Repository(repository).read_records("refs/autoresearch/t/journal"))


@pytest.mark.parametrize("call", [pytest.param(n, marks=[] if n == 18 else pytest.mark.full) for n in range(9, 25, 3)])
def test_dying_in_the_midst_of_races_changes_nothing_of_what_is_decided(
    fast_repository, demo, monkeypatch, undisturbed, call
):
    class Died(BaseException):
        pass

    told, records = undisturbed
    assert records > call
    original, calls = Coordinator._journal, 0

    def dies(self, record):
        nonlocal calls
        calls += 1
        if calls == call:
            raise Died
        original(self, record)

    setup = setup_of(fast_repository, demo)
    with coordinator_of(fast_repository, demo, limit=5, confirm_seeds=2) as coordinator:
        monkeypatch.setattr(Coordinator, "_journal", dies)
        with pytest.raises(Died):
            run_all(coordinator, setup)
        monkeypatch.setattr(Coordinator, "_journal", original)
    with coordinator_of(fast_repository, limit=5) as coordinator:
        run_all(coordinator, setup)
        assert story(coordinator) == told
        agree(fast_repository, coordinator)


def test_torn_and_deleted_files_are_restored_byte_for_byte(fast_repository, demo):
    with coordinator_of(fast_repository, demo) as coordinator:
        run_all(coordinator, setup_of(fast_repository, demo))
    before = ledgers(fast_repository)
    results = fast_repository / "runs/t/results.tsv"
    os.truncate(results, results.stat().st_size - 9)
    (fast_repository / "runs/t/decisions.jsonl").unlink()
    with coordinator_of(fast_repository):
        assert ledgers(fast_repository) == before


def test_locks_that_a_killed_git_left_do_not_stop_a_resume(fast_repository, demo):
    with coordinator_of(fast_repository, demo, limit=1) as coordinator:
        run_all(coordinator, setup_of(fast_repository, demo))
    git(fast_repository, "update-ref", "-d", "refs/heads/autoresearch/t")
    for ref in ("autoresearch/t/journal", "heads/autoresearch/t", "heads/autoresearch/t-gpu0"):
        (fast_repository / f".git/refs/{ref}.lock").write_text("")
    (fast_repository / ".git/refs/heads/autoresearch/tea.lock").write_text("")  # another search's
    with coordinator_of(fast_repository, limit=2) as coordinator:
        run_all(coordinator, setup_of(fast_repository, demo))
        assert len(coordinator.state.decisions) == 3
        agree(fast_repository, coordinator)
    assert (fast_repository / ".git/refs/heads/autoresearch/tea.lock").exists()


def test_a_row_that_somebody_added_is_kept_beside(fast_repository, demo):
    with coordinator_of(fast_repository, demo, limit=1) as coordinator:
        run_all(coordinator, setup_of(fast_repository, demo))
    results = fast_repository / "runs/t/results.tsv"
    results.write_text(results.read_text() + "abc1234\t0.5\t0.5\t0.1\tdiscard\tby hand\n")
    with coordinator_of(fast_repository):
        kept = list(fast_repository.glob("runs/t/results.tsv.before-resume-*"))
    assert "by hand" in kept[0].read_text()


def test_git_clean_takes_nothing_but_the_logs(fast_repository, demo):
    with coordinator_of(fast_repository, demo) as coordinator:
        run_all(coordinator, setup_of(fast_repository, demo))
    before = ledgers(fast_repository)
    git(fast_repository, "clean", "-ffdxq")
    assert not (fast_repository / "runs").exists()
    with coordinator_of(fast_repository, limit=4) as coordinator:
        assert ledgers(fast_repository) == before
        run_all(coordinator, setup_of(fast_repository, demo))
        assert len(coordinator.state.decisions) == 5
        agree(fast_repository, coordinator)


def test_merging_the_slots_files_gives_the_searchs_own(fast_repository, demo, tmp_path):
    with coordinator_of(fast_repository, demo, slots=2, limit=4) as coordinator:
        slots = [setup_of(fast_repository, demo, slot) for slot in (0, 1)]
        for turn in range(99):
            work = coordinator.next_work(turn % 2)
            if work is Pause.FINISHED:
                break
            coordinator.record(run_trial(slots[turn % 2], work))
    files = sorted(fast_repository.glob("runs/t/gpu*/results.tsv"))
    assert len(files) == 2
    merged = (fast_repository / "runs/t/results.tsv").read_text()
    assert render(merged_rows(files, History(None))) == merged
    (fast_repository / "runs/t/decisions.jsonl").unlink()
    assert render(merged_rows(files, History(Repository(fast_repository)))) == merged  # from the journal in git
    analysis = summarise(files, tmp_path, History(Repository(fast_repository)))
    assert analysis["majority_bin_acc"] == 0.9
    assert analysis["counts"]["experiments"] == 5
    assert json.loads((tmp_path / "analysis_summary.json").read_text()) == analysis
    assert (tmp_path / "progress.png").stat().st_size > 1000


def test_a_baseline_that_fails_ends_the_search_with_its_traceback(tmp_path, demo):
    repository = make_repository(
        tmp_path / "project", FAST_TRAIN.replace("recipe = Recipe()", "recipe = Recipe(1, 2, 3, 4)")
    )
    with coordinator_of(repository, demo) as coordinator, pytest.raises(BaselineFailed, match="takes from 1 to 4"):
        run_all(coordinator, setup_of(repository, demo))
    with pytest.raises(BaselineFailed, match="takes from 1 to 4"), coordinator_of(repository):
        pass  # a resume cannot go on from it, and says why


def test_resuming_what_is_not_there(fast_repository):
    coordinator = Coordinator(Repository(fast_repository), "t")
    with pytest.raises(UsageError, match="no such search"):
        coordinator.resume()
    coordinator.close()
