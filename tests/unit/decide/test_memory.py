"""What ran out of memory teaches what else would."""

import math

import numpy as np
import pytest

from search.core.events import SlotJoined
from search.core.space import parse_space
from search.core.types import Change, Slot, Status
from search.decide.points.memory import MemoryModel, need_of
from search.decide.points.suggestions import Suggestions, lost
from tests.support.states import Search

CARD = 1000.0  # MB
TWO = parse_space(
    '[batch]\nkind="int"\nlow=4\nhigh=256\nscale="log"\nstep=2\n[width]\nkind="int"\nlow=8\nhigh=128\nscale="log"\nstep=2\n',
    "two",
)


def searched(memory_mb):
    """A search of one card of so many MB, None: logical, where memory goes by the width, and some ran out of it."""
    search = Search()
    search.apply(SlotJoined(Slot(0, "node", "host", "gpu", "card", memory_mb)))
    for number, width in enumerate((6, 30, 10, 50, 14, 20, 27), 1):
        needed = 40.0 * width
        fits = needed < CARD
        more = {"memory_mb": needed} if fits else {"reason": "out of memory: CUDA", "memory_mb": None}
        score = 0.88 + 0.01 * math.log2(width)  # the larger the better
        search.first(number, score if fits else None, changes=(Change("width", 8, width),), **more)
        search.decide(number, Status.DISCARD if fits else Status.CRASH)
    return search


def widths(search, count=40):
    belief = search.belief
    asked = Suggestions(search.state, belief.sources, belief)
    return [asked.suggest(number).point["width"] for number in range(100, 100 + count)]


def test_what_would_not_fit_is_hardly_suggested_and_what_would_is():
    found = widths(searched(CARD))
    assert sum(width > 26 for width in found) <= len(found) / 20
    assert sum(15 <= width <= 24 for width in found) >= len(found) / 8  # large, and they fit
    assert sum(width > 26 for width in widths(searched(80_000.0))) > len(found) / 8  # a card that has room for all


def test_a_recipe_is_not_called_bad_for_its_size():
    state = searched(CARD).state
    assert len(lost(state, with_those_too_large=True)) - len(lost(state, with_those_too_large=False)) == 3


def test_without_a_card_that_is_known_a_crash_for_memory_is_a_crash():
    search = searched(None)
    assert need_of(search.state, search.state.outcomes_of(4)) is None
    assert widths(search)


@pytest.mark.parametrize("seed", range(5))
def test_memory_that_grows_by_a_product_is_learned_from_a_few(seed):
    rng = np.random.default_rng(seed)

    def needed(units):
        return 40 + 0.05 * (4 * 64 ** units[:, 0]) * (8 * 16 ** units[:, 1])  # batch times width

    units = rng.random((24, 2))
    true = needed(units)
    ran_out = true > CARD
    if ran_out.all() or not ran_out.any():
        return
    model = MemoryModel(TWO, units, np.where(ran_out, CARD, true), ran_out)
    others = rng.random((400, 2))
    said, fit = model.fits(others, CARD) > 0.5, needed(others) < CARD * 0.95
    assert (said == fit).mean() > 0.93
