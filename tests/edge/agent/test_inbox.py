"""Sources that are handed in."""

from dataclasses import replace

from search.agent.inbox import proposal_from
from tests.support.repositories import FAST_TRAIN, git


def commit_on(bench, text, path="train.py", message="by hand"):
    git(bench.root, "checkout", "-q", "--detach", bench.base)
    (bench.root / path).write_text(text)
    git(bench.root, "add", "-A")
    git(bench.root, "commit", "-qm", message)
    commit = git(bench.root, "rev-parse", "HEAD").strip()
    git(bench.root, "checkout", "-q", "main")
    return commit


def test_a_commit_that_is_handed_in_is_made_again_on_the_incumbent(bench):
    mine = commit_on(bench, FAST_TRAIN.replace("logits = 4 *", "logits = 5 *"))
    theirs = FAST_TRAIN.replace("lr: float = 0.01", "lr: float = 0.05")
    incumbent = bench.repository.commit_edit(bench.base, "train.py", theirs, "kept", "test")
    edit_base = replace(bench.edit_base(), commit=incumbent, source=theirs)
    made = proposal_from(mine, "inbox", "", edit_base, bench.context)
    assert (made.refused, made.idea, made.origin) == ("", "by hand", mine)
    merged = bench.repository.file_at(made.commit, "train.py")
    assert merged == theirs.replace("logits = 4 *", "logits = 5 *")
    assert bench.repository.parents_of(made.commit) == [incumbent]


def test_what_cannot_be_handed_in_is_told(bench):
    edit_base = bench.edit_base()
    other = commit_on(bench, "x = 1\n", path="prepare.py")
    assert (
        "changes files other than train.py: prepare.py"
        in proposal_from(other, "inbox", "", edit_base, bench.context).refused
    )
    assert "has 0 parents" in proposal_from(bench.base, "inbox", "", edit_base, bench.context).refused
    mine = commit_on(bench, FAST_TRAIN.replace("logits = 4 *", "logits = 5 *"))
    clash = replace(edit_base, source=FAST_TRAIN.replace("logits = 4 *", "logits = 6 *"))
    assert "conflicts with the incumbent's train.py" in proposal_from(mine, "inbox", "", clash, bench.context).refused
