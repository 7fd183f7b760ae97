"""What trials of the code before an edit tell about the code after it."""

from hypothesis import given
from hypothesis import strategies as st

from search.decide.transfer import Observation, transferred
from tests.support.states import SPACE


@given(st.floats(0.001, 0.9), st.integers(1, 60))
def test_moves_are_made_again_from_the_new_centre_unless_their_axis_changed(lr, width):
    old, new = {"lr": 0.01, "width": 8}, {"lr": 0.05, "width": 8, "depth": 2}
    observations = [Observation({"lr": lr, "width": width}, 0.9, "a")]
    same = {"lr": "1", "width": "2"}
    assert transferred(observations, old, new, same, same, SPACE) == [
        Observation({**new, **({"lr": lr} if lr != 0.01 else {}), "width": width}, 0.9, "a")
    ]
    other = transferred(observations, old, new, same, {"lr": "9", "width": "2"}, SPACE)
    assert len(other) == (lr == 0.01)
