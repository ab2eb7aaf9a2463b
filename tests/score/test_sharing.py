"""Work that is shared: done once while its inputs live, forgotten with them, never of arrays that could change."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from oodgrid.score import sharing
from oodgrid.score.contract import Bank, similarities
from oodgrid.score.sharing import frozen, shared


@pytest.fixture
def counted():
    calls = []

    @shared
    def total(values, other=None, *, power=1):
        calls.append(power)
        return (values**power).sum(axis=1)

    return total, calls


def test_the_same_arrays_and_parameters_are_computed_once(counted):
    total, calls = counted
    values = frozen(np.arange(6.0).reshape(2, 3))
    assert total(values, power=2) is total(values, power=2)
    assert total(values, power=3).tolist() == [9, 216]
    assert calls == [2, 3]


def test_equal_arrays_that_are_not_the_same_are_told_apart(counted):
    total, calls = counted
    one, two = (frozen(np.ones((1, 2))) for _ in range(2))
    assert total(one) is not total(two)
    assert calls == [1, 1]


def test_arrays_that_can_change_are_never_remembered(counted):
    total, calls = counted
    values = np.ones((1, 2))
    assert total(values).tolist() == [2]
    values += 1
    assert total(values).tolist() == [4]
    assert calls == [1, 1]


def test_what_was_found_is_forgotten_with_its_inputs(counted):
    total, _ = counted
    gc.collect()
    before = len(sharing._FOUND)
    values = frozen(np.ones((3, 2)))
    total(values)
    assert len(sharing._FOUND) == before + 1
    del values
    gc.collect()
    assert len(sharing._FOUND) == before


def test_nobody_can_write_into_what_is_shared(counted):
    total, _ = counted
    with pytest.raises(ValueError, match="read-only"):
        total(frozen(np.ones((1, 2))))[0] = 3


def test_objects_count_by_themselves():
    features = frozen(np.eye(3))
    banks = [Bank(frozen(np.eye(3)), np.arange(3), 1) for _ in range(2)]
    assert similarities(features, banks[0]) is similarities(features, banks[0])
    assert similarities(features, banks[0]) is not similarities(features, banks[1])
