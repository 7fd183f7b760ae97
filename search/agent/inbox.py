"""Edits that somebody hands in: their difference to their own parent, made again on the incumbent."""

from __future__ import annotations

from dataclasses import replace

from search.agent.agents import one_line
from search.agent.turn import ProposalContext, checked
from search.agent.validate import EditBase, Refusal
from search.core.types import Proposal, short
from search.system.git import Repository
from search.trial import integrity


def proposal_from(commit: str, author: str, idea: str, edit_base: EditBase, context: ProposalContext) -> Proposal:
    """The proposal that a commit becomes, or the reason why it cannot be one."""
    repository = context.repository
    title = (repository.message_of(commit).splitlines() or [""])[0]
    made = Proposal(0, author, one_line(idea or title), edit_base.commit, origin=commit)
    source = source_of(commit, edit_base, repository, context.edited)
    if isinstance(source, Refusal):
        return replace(made, refused=source.reason)
    return checked(made, source, edit_base, context, f"handed-in/{commit[:12]}")


def source_of(commit: str, edit_base: EditBase, repository: Repository, edited: str) -> str | Refusal:
    """The incumbent's edited file with what a commit changed in it."""
    name, parents = short(commit), repository.parents_of(commit)
    if len(parents) != 1:
        return Refusal(f"{name} has {len(parents)} parents: what it changes is not clear; hand in one commit")
    before, after = (integrity.files_of(repository, one) for one in (parents[0], commit))
    others = integrity.other_changes(before, after, edited)
    if others:
        return Refusal(f"{name} changes files other than {edited}: {', '.join(others[:5])}")
    if edited not in after or before.get(edited) == after[edited]:
        return Refusal(f"{name} does not change {edited}, or removes it")
    base, theirs = (repository.file_at(one, edited) for one in (parents[0], commit))
    merged = theirs if base == edit_base.source else repository.merged(base, edit_base.source, theirs)
    if merged is None:
        on = short(edit_base.commit)
        return Refusal(f"{name} conflicts with the incumbent's {edited} ({on}): make it again on that")
    return merged
