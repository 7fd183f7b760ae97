"""What a trial's log says."""

from hypothesis import given
from hypothesis import strategies as st

from search.trial.footer import MOST_LOSSES, losses_of

LOG = "step 1 | loss 1.61 | 20 photos/s\nnothing\nepoch 1: loss=0.9\nthe loss 7 of a comment\nstep 2 | loss 4.1e-1\n"


def test_losses_are_those_of_training_lines():
    assert losses_of(LOG) == (1.61, 0.9, 0.41)
    assert losses_of("no word") == () and losses_of("step 3 | loss nan") == ()


@given(st.lists(st.integers(0, 1000), max_size=200))
def test_a_long_curve_is_a_few_numbers_with_its_ends(values):
    found = losses_of("".join(f"step {n} | loss {value / 100}\n" for n, value in enumerate(values)))
    assert len(found) == min(len(values), MOST_LOSSES)
    if values:
        assert (found[0], found[-1]) == (values[0] / 100, values[-1] / 100)
