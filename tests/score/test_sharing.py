"""Work that is shared: done once while its inputs live, forgotten with them, never of arrays that could change."""

from __future__ import annotations

import contextlib
import dataclasses
import gc

import numpy as np
import pytest

from oodgrid.score import sharing
from oodgrid.score.checks import EXAMPLES, example, example_texts
from oodgrid.score.contract import Bank, Skip, similarities
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
    before = len(sharing._RESULTS)
    values = frozen(np.ones((3, 2)))
    total(values)
    assert len(sharing._RESULTS) == before + 1
    del values
    gc.collect()
    assert len(sharing._RESULTS) == before


def test_nobody_can_write_into_what_is_shared(counted):
    total, _ = counted
    with pytest.raises(ValueError, match="read-only"):
        total(frozen(np.ones((1, 2))))[0] = 3


def test_objects_count_by_themselves():
    features = frozen(np.eye(3))
    banks = [Bank(frozen(np.eye(3)), np.arange(3), 1) for _ in range(2)]
    assert similarities(features, banks[0]) is similarities(features, banks[0])
    assert similarities(features, banks[0]) is not similarities(features, banks[1])


def arrays(thing, path=""):
    """Yield every array that can be reached from what a score is given, with the way to it."""
    if isinstance(thing, np.ndarray):
        yield path, thing
    elif isinstance(thing, dict):
        for name, value in thing.items():
            yield from arrays(value, f"{path}[{name!r}]")
    elif isinstance(thing, tuple | list):
        assert isinstance(thing, tuple), f"{path} is a list, which can be changed"
        for number, value in enumerate(thing):
            yield from arrays(value, f"{path}[{number}]")
    elif dataclasses.is_dataclass(thing):
        for name in dir(thing):
            if not name.startswith("__"):
                with contextlib.suppress(Skip, AttributeError):
                    yield from arrays(getattr(thing, name), f"{path}.{name}")
                    yield from arrays(getattr(thing, name)(), f"{path}.{name}()") if name == "own_logits" else ()


@pytest.mark.parametrize("left", EXAMPLES)
def test_no_array_that_a_score_can_reach_can_be_written_to_or_opened_again(left):
    found = dict(arrays((example(left), example_texts())))
    for attribute in ("features", "labels", "means", "centre", "residuals", "classes[0]", "classes[1]"):
        assert f"[0]['bank'].{attribute}" in found
    assert "[1].features" in found
    for path, array in found.items():
        for view in (array, array[...], array.T, array[:1]):
            assert not view.flags.writeable, path
            with pytest.raises(ValueError, match="WRITEABLE"):
                view.setflags(write=True)


def test_closing_keeps_the_numbers_and_what_is_closed_already():
    for values in (np.arange(6.0).reshape(2, 3).T, np.empty((0, 3)), np.arange(3, dtype=np.int32), np.float32([[1]])):
        closed = frozen(values)
        assert closed.dtype == values.dtype
        np.testing.assert_array_equal(closed, values)
        assert frozen(closed) is closed
        assert frozen(closed[:1]).base is not None
