"""Statistics of the test photos."""

import numpy as np
import pytest

from search.report.test_set import permutation_p, smallest_gain


def test_the_paired_test_finds_a_gain_and_none_where_there_is_none():
    assert permutation_p(np.array([1.0] * 20 + [0.0] * 80)) < 0.001
    assert permutation_p(np.zeros(100)) == 1.0
    assert permutation_p(np.array([1.0, -1.0] * 10)) > 0.5
    assert smallest_gain(np.array([1.0, -1.0] * 200), 0.9) == pytest.approx(2.8016 / 20, rel=1e-3)
