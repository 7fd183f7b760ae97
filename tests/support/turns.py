"""A repository in which agents are asked for edits."""

import sys
import textwrap

import prepare
from search.agent.agents import Agent, plain
from search.agent.smoke import Places, SmokeSetup
from search.agent.turn import Assignment, ProposalContext, ask
from search.agent.validate import EditBase
from search.core.space import parse_space
from search.system.git import Repository
from tests.support.repositories import FAST_SPACE, FAST_TRAIN, make_repository
from tests.support.states import TASK

GOOD = """
text = open("train.py").read()
open("train.py", "w").write(text.replace("logits = 4 *", "logits = 5 *"))
print("IDEA: sharper logits")
"""


class Bench:
    """A repository, and everything that a proposal is checked with."""

    def __init__(self, folder, demo):
        self.root = make_repository(folder / "project", FAST_TRAIN)
        self.repository = Repository(self.root)
        self.base = self.repository.commit_of("HEAD")
        self.guards = []
        run = self.root / "runs/t"
        secret = (demo, prepare.cache_root() / prepare.load(demo).fingerprint, self.root / ".git", self.root / "runs")
        self.secret = secret
        places = Places(TASK, prepare.load(demo).fingerprint, 1, secret)
        smoke = SmokeSetup(self.repository, run / "agent/smoke", places)
        self.context = ProposalContext(self.repository, smoke, run / "agent", self.guards.append)
        smoke.data()

    def edit_base(self, **more):
        source = self.repository.file_at(self.base, "train.py")
        return EditBase(self.base, source, parse_space(FAST_SPACE, "fast.toml"), **{"identities": {}, **more})

    def task(self, seconds=60.0, edit_base=None, **more):
        edit_base = edit_base or self.edit_base()
        more = {"secret": self.secret, **more}
        return Assignment(
            "turn0001-0", 1, edit_base, "# Brief\nwhat is wanted", "{}", seconds, kept=(self.root,), **more
        )

    def agent(self, body):
        script = self.root.parent / "agent.py"
        script.write_text(textwrap.dedent(body))
        return Agent("tool", (sys.executable, str(script)), plain)

    def ask(self, body, **more):
        return ask(self.agent(body), self.task(**more), self.context)
