"""The summary of a real search."""

import json

from search.decide.plan import Pause
from search.records.results_tsv import render
from search.report.history import History
from search.report.summary import merged_rows, summarise
from search.system.git import Repository
from search.trial.run import run_trial
from tests.support.searches import coordinator_of, setup_of
from tests.support.states import TASK


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
    assert render(merged_rows(files, History(None)), TASK) == merged
    (fast_repository / "runs/t/decisions.jsonl").unlink()
    assert render(merged_rows(files, History(Repository(fast_repository))), TASK) == merged  # from the journal in git
    analysis = summarise(files, tmp_path, History(Repository(fast_repository)))
    assert analysis["majority_bin_acc"] == 0.9
    assert analysis["counts"]["experiments"] == 5
    assert json.loads((tmp_path / "analysis_summary.json").read_text()) == analysis
    assert (tmp_path / "progress.png").stat().st_size > 1000
