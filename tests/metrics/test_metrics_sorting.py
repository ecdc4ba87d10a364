"""Orders of integers, against numpy's own, also where number and place do not fit into one."""

from __future__ import annotations

import numpy as np
import pytest

from emgecg_cli.core.metrics.text.sorting import dense_numbers, stable_order


@pytest.mark.parametrize("most", [1, 5, 1 << 40, (1 << 63) - 1])
@pytest.mark.parametrize("n", [0, 1, 2, 1000])
def test_orders_equal_those_of_numpy(n: int, most: int) -> None:
    keys = np.random.default_rng(n).integers(0, most, n, endpoint=True)
    keys[n // 2:] = keys[:n - n // 2]
    assert np.array_equal(stable_order(keys), np.argsort(keys, kind="stable"))
    different, expected = np.unique(keys, return_inverse=True)
    dense, count = dense_numbers(keys)
    assert np.array_equal(dense, expected) and count == len(different)
