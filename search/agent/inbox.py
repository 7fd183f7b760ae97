"""Edits that somebody hands in: their difference to their own parent, made again on the incumbent."""

from __future__ import annotations

from search.agent.agents import one_line
from search.agent.turn import Edited, ProposalContext, checked
from search.agent.validate import EditBase, Refused
from search.core.types import Proposal, short
from search.trial import integrity
from search.trial.integrity import EDITED


def proposal_from(commit: str, author: str, idea: str, edit_base: EditBase, context: ProposalContext) -> Proposal:
    """The proposal that a commit becomes, or the reason why it cannot be one."""
    repository = context.repository
    title = (repository.message_of(commit).splitlines() or [""])[0]
    named = one_line(idea or title)
    made = Proposal(0, author, named, edit_base.commit, origin=commit)
    try:
        parents = repository.parents_of(commit)
        if len(parents) != 1:
            raise Refused(
                f"{short(commit)} has {len(parents)} parents: what it changes is not clear; hand in one commit"
            )
        before, after = (integrity.files_of(repository, one) for one in (parents[0], commit))
        others = integrity.other_changes(before, after)
        if others:
            raise Refused(f"{short(commit)} changes files other than train.py: {', '.join(others[:5])}")
        if EDITED not in after or before.get(EDITED) == after[EDITED]:
            raise Refused(f"{short(commit)} does not change train.py, or removes it")
        base, theirs = (repository.file_at(one, EDITED) for one in (parents[0], commit))
        source = theirs if base == edit_base.source else repository.merged(base, edit_base.source, theirs)
        if source is None:
            raise Refused(
                f"{short(commit)} conflicts with the incumbent's train.py ({short(edit_base.commit)}): make it again on "
                "that"
            )
        return checked(made, source, edit_base, context, f"handed-in/{commit[:12]}")
    except Edited as error:
        return error.proposal
    except Refused as error:
        return Proposal(0, author, named, edit_base.commit, refused=str(error), origin=commit)
