from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oodgrid.encode.importing import checks
from tests.failing import failure


@pytest.mark.parametrize("dtype", ["<f2", ">f2", "<f4", ">f4"])
def test_half_and_single_precision_stay_as_they_are(dtype):
    values = np.array([[0.0, -0.0, 6e-8], [1.5, -2.25, 65504]], dtype)
    found, was = checks.floats(values, "d")
    assert was is None
    assert found.dtype == np.dtype(dtype).newbyteorder("=")
    assert found.astype(dtype).tobytes() == values.tobytes()


@pytest.mark.parametrize("dtype", ["f8", ">f8", "i4", "u1"])
def test_other_numbers_become_single_precision_by_name(dtype):
    found, was = checks.floats(np.array([[1, 2]], dtype), "d")
    assert (found.dtype, was) == (np.float32, np.dtype(dtype).name)
    assert found.tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize("values", [np.ones(2, complex), np.array(["1"]), np.ones(2, bool), np.array([None, 1])])
def test_what_is_no_real_number_is_refused(values):
    assert "give real numbers" in failure(checks.floats, values, "d")


def test_numbers_beyond_single_precision_are_refused():
    assert "too large for float32" in failure(checks.floats, np.array([1e39]), "d")
    assert checks.floats(np.array([np.inf]), "d")[0] == np.inf  # which is what the store complains about


@given(
    st.lists(st.integers(-1, 127), min_size=1), st.sampled_from(["i1", "i2", ">i4", "i8", "f2", "f8"]), st.booleans()
)
def test_whole_numbers_come_back(numbers, dtype, column):
    values = np.array(numbers, dtype)
    found = checks.whole_numbers(values[:, None] if column else values, "d", "labels", least=-1)
    assert found.dtype == np.int32
    assert found.tolist() == numbers


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([0.5, 1], "whole numbers, the index of the class"),
        ([np.nan, 1], "whole numbers"),
        ([np.inf, 1], "whole numbers"),
        ([True, False], "whole numbers"),
        (["a", "b"], "whole numbers"),
        ([None, 1], "whole numbers"),
        ([0, 2**31], "hold 2147483648"),
        (np.array([0, 2**63], np.uint64), "hold 9223372036854775808"),
        ([0, 2**40], "hold 1099511627776"),
        (np.array([0, 2**31], np.float32), "hold 2147483648"),
        ([0.0, 1e30], "labels hold 1000000000000000019884624838656"),
        ([0, -2], "-1 where an image has no class"),
        ([[0, 1], [2, 3]], "shape (2, 2)"),
    ],
)
def test_labels_that_are_not_sound_are_refused(values, said):
    assert said in failure(checks.whole_numbers, np.array(values), "d", "labels", least=-1)


def test_texts_in_every_shape_that_libraries_give():
    assert checks.texts(np.array(["a", "é"]), "d", "paths") == ["a", "é"]
    assert checks.texts(np.array([b"a", "é".encode()]), "d", "paths") == ["a", "é"]
    assert checks.texts(np.array([3, 10]), "d", "paths") == ["3", "10"]
    assert checks.texts(["", " "], "d", "paths") == ["", " "]


@pytest.mark.parametrize("values", [[1, 2], ["a", None], "ab", 3, np.array([["a"]]), np.array([0.5]), {"a": "b"}])
def test_what_is_no_list_of_texts_is_refused(values):
    assert "paths must be a list of texts" in failure(checks.texts, values, "d", "paths")


def test_digests():
    given_ = np.arange(64, dtype=np.uint8).reshape(2, 32)
    assert checks.digests(given_, 2, "d") is given_
    assert not checks.digests(None, 2, "d").any()
    for wrong in (given_[:, :31], given_[:1], given_.astype(int), np.zeros((2, 32)), np.array(["ab", "cd"])):
        assert "uint8, (samples, 32)" in failure(checks.digests, wrong, 2, "d")


def test_stamps():
    given_ = np.arange(4).reshape(2, 2)
    assert checks.stamps(given_, 2, "d") is given_
    for wrong in (given_[:1], given_.astype(float), given_[:, :1]):
        assert "int64, (samples, 2)" in failure(checks.stamps, wrong, 2, "d")


def test_local_features():
    features, local = np.ones((2, 4), np.float16), np.ones((2, 3, 4), np.float16)
    assert checks.local_features(local, features, "d") is local
    for wrong in (local[:1], local[:, :, :3], local[0]):
        assert "do not fit features of (2, 4)" in failure(checks.local_features, wrong, features, "d")
    local[1, 2, 0] = np.nan
    assert "1 of 2 samples are NaN" in failure(checks.local_features, local, features, "d")


@pytest.mark.parametrize("said", [True, False])
@pytest.mark.parametrize("scale", [1, 3])
def test_what_a_file_says_of_its_norms_counts_more_than_the_norms(said, scale):
    values = scale * np.eye(3, dtype=np.float32)
    assert checks.normalised(values, {"normalised": said}) is said
    assert checks.normalised(values, {}) is (scale == 1)
    assert checks.normalised(values[None], {"normalised": None}) is (scale == 1)


def test_parts_of_several_encoders_are_refused():
    assert checks.joined([np.ones((1, 3)), np.zeros((2, 3))], "d").shape == (3, 3)
    assert "(3,), (4,)" in failure(checks.joined, [np.ones((1, 4)), np.ones((1, 3))], "d")
