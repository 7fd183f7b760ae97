"""The test photos: opened once, and recorded."""

import json
from dataclasses import replace

import numpy as np
import pytest

import prepare
from search import audit
from search.core.paths import Names
from search.core.seeds import VERIFICATION_SEEDS
from search.core.types import SearchError
from search.decide.plan import Limit
from search.records import journal
from search.report.history import History
from search.report.summary import summarise
from search.report.test_set import as_text
from search.system.git import Repository
from search.task.screening.rates import rightly_told
from search.trial import sealed
from tests.support.repositories import git
from tests.support.searches import coordinator_of, run_all, settings_of, setup_of


def verified(repository, setup, seeds=2):
    """As search.verify does: fresh seeds of the baseline and of what it is compared with."""
    with coordinator_of(repository) as coordinator:
        coordinator.limit = Limit(verify=seeds)
        run_all(coordinator, setup)


def test_the_test_photos_are_opened_once_and_a_search_that_goes_on_says_so(fast_repository, demo, monkeypatch):
    monkeypatch.setattr("search.audit.repository_here", lambda: Repository(fast_repository))
    settings = settings_of(fast_repository, demo)
    setup = replace(setup_of(fast_repository, demo), seal=str(sealed.folder_of(settings)))
    with coordinator_of(fast_repository, demo, limit=6) as coordinator:
        run_all(coordinator, setup)
        files = [path for path in (fast_repository / "runs").rglob("*") if path.is_file() and "tree" not in path.parts]
        shown = [path for path in files if path.name != "optuna.db-journal"]  # it comes and goes
        assert len(shown) > 10 and not any("test_bin_acc" in path.read_text(errors="replace") for path in shown)
        with pytest.raises(SearchError, match="running already"):
            audit.audit("t", None, print)
    with pytest.raises(SearchError, match=r"no fresh seeds yet.*search\.verify t first"):
        audit.audit("t", None, print)
    verified(fast_repository, setup)
    found = audit.audit("t", None, print)
    data = prepare.load(demo)
    assert found["test_photos"] == len(data.indices("test")) and found["experiments"] == 6
    saved = [sealed.read(sealed.folder_of(settings), f"e0000-s{VERIFICATION_SEEDS + n}") for n in (0, 1)]
    right = [rightly_told(one[1], data.labels[data.indices("test")]).mean() for one in saved]
    assert found["baseline"]["test_bin_acc"] == pytest.approx(np.mean(right), abs=1e-6)
    low, high = found["gain_interval"]
    assert low <= found["gain"] <= high and 0 < found["p_value"] <= 1 and found["smallest_gain"] > 0
    assert "spent" in as_text(found)
    assert audit.audit("t", None, print) == found
    git(fast_repository, "clean", "-ffdxq")
    with coordinator_of(fast_repository, limit=6) as coordinator:
        assert {"tag": "t", **coordinator.state.audit} == found
        files = sorted(fast_repository.glob("runs/t/gpu*/results.tsv"))
        analysis = summarise(files, fast_repository / "runs/t", History(Repository(fast_repository)))
        assert analysis["test_opened"]["opened"] == found["opened"]
        assert "test photos were opened" in (fast_repository / "runs/t/analysis_summary.md").read_text()


def test_an_audit_of_nothing_is_one_line(fast_repository, demo, monkeypatch, capsys):
    monkeypatch.setattr("search.audit.repository_here", lambda: Repository(fast_repository))
    assert audit.main(["nowhere"]) == 2
    assert "nowhere: no such search" in capsys.readouterr().err
    setup = replace(setup_of(fast_repository, demo), seal=str(fast_repository.parent / "gone"))
    with coordinator_of(fast_repository, demo, limit=1) as coordinator:
        run_all(coordinator, setup)
    verified(fast_repository, setup)
    assert audit.main(["t"]) == 1
    assert "nothing can be opened" in capsys.readouterr().err
    assert audit.main(["t", "--dataset", "/nowhere"]) == 1
    assert journal.read(Repository(fast_repository), Names("t"))[-1].event != "audit"
    capsys.readouterr()
    assert audit.main(["--tag", "t", "--json"]) == 1
    failed = json.loads(capsys.readouterr().out)
    assert failed["exit_code"] == 1 and str(fast_repository.parent / "gone") not in failed["error"]


def test_another_home_does_not_hide_the_sealed_results(fast_repository, demo, monkeypatch, tmp_path):
    monkeypatch.setattr("search.audit.repository_here", lambda: Repository(fast_repository))
    settings = replace(settings_of(fast_repository, demo), seal=str(tmp_path / "sealed here"))
    setup = replace(setup_of(fast_repository, demo), seal=str(sealed.folder_of(settings)))
    with coordinator_of(fast_repository, demo, limit=1, seal=settings.seal) as coordinator:
        run_all(coordinator, setup)
    verified(fast_repository, setup)
    monkeypatch.setenv("HOME", str(tmp_path / "another"))
    monkeypatch.setenv("AUTORESEARCH_STATE", str(tmp_path / "another/state"))
    assert audit.audit("t", None, print)["experiments"] == 1
