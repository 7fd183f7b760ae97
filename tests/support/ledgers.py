"""Lines of results.tsv as people have them, and rows of any kind for property tests."""

from hypothesis import strategies as st

from search.core.task import Score
from search.core.types import Status
from search.records.results_tsv import Row, header_of
from tests.support.states import TASK

HEADER = header_of(TASK)
A = "a1b2c3d\t0.286000\t0.811000\t0.3\tkeep\tbaseline (wide arch, SGD lr=0.01)"
B = "b2c3d4e\t0.568000\t0.896000\t0.5\tKEEP\twider channels — bin_acc +8.5pp"
C = "d4e5f6g\t0.000000\t0.000000\t0.0\tCrash\tdoubled width (OOM)"
MILLIONTHS = st.integers(0, 10**6).map(lambda n: n / 10**6)


def write(path, *lines, end="\n"):
    path.write_text("".join(line + end for line in lines))
    return path


def rows(commits, descriptions):
    """Rows of the task that ships. commits, descriptions: strategies."""
    scores = st.builds(Score, MILLIONTHS, MILLIONTHS)
    memory = st.integers(0, 999).map(lambda n: n / 10)
    return st.builds(Row, commits, scores, memory, st.sampled_from(Status), descriptions)
