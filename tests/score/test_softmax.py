"""Softmaxes row by row in a core's cache: the bits of the formula on whole arrays, whatever the blocks."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax, logsumexp, softmax

from oodgrid.score import contract
from oodgrid.score import softmax as blocks
from oodgrid.score.contract import Bank, Head, normalise
from oodgrid.score.patterns import log_means
from oodgrid.score.subspaces import residual_norms

SHAPES = [(1, 1), (7, 3), (300, 10), (1025, 100), (5, 70_000), (0, 4), (6, 9, 20)]


@pytest.fixture(params=SHAPES, ids=str)
def logits(request):
    return np.random.default_rng(0).normal(size=request.param) * 0.1


def whole(logits, T):
    """Return probabilities and their logarithms, in arrays of the size of the logits."""
    shifted = (logits - logits.max(axis=-1, keepdims=True)) / T
    powers = np.exp(shifted)
    sums = powers.sum(axis=-1, keepdims=True)
    return powers / sums, shifted - np.log(sums), sums[..., 0]


@pytest.mark.parametrize("T", [0.01, 1.0])
def test_blocks_change_no_bit(logits, T, monkeypatch):
    p, logs, sums = whole(logits, T)
    for cached in (blocks.CACHED, 64, 1):
        monkeypatch.setattr(blocks, "CACHED", cached)
        np.testing.assert_array_equal(contract.probabilities(logits, T=T), p)
        np.testing.assert_array_equal(contract.log_probabilities(logits, T=T), logs)
        np.testing.assert_array_equal(contract.largest_probability(logits, T=T), p.max(axis=-1))
        np.testing.assert_array_equal(contract.log_normaliser(logits, T=T), logits.max(axis=-1) + T * np.log(sums))
        if logits.ndim == 2:
            np.testing.assert_array_equal(contract.negative_entropies(logits, T=T), (p * logs).sum(axis=1))


def test_they_are_scipys(logits):
    np.testing.assert_allclose(contract.probabilities(logits, T=0.1), softmax(logits / 0.1, axis=-1), rtol=1e-12)
    np.testing.assert_allclose(
        contract.log_probabilities(logits, T=0.1), log_softmax(logits / 0.1, axis=-1), rtol=1e-10, atol=1e-13
    )
    expected = 0.1 * logsumexp(logits / 0.1, axis=-1)
    np.testing.assert_allclose(contract.log_normaliser(logits, T=0.1), expected, rtol=1e-10, atol=1e-13)


def test_one_row_alone_and_arrays_in_another_order():
    logits = np.random.default_rng(1).normal(size=(40, 30))
    p = contract.probabilities(logits, T=0.5)
    np.testing.assert_array_equal(contract.probabilities(logits[3], T=0.5), p[3])
    np.testing.assert_allclose(contract.probabilities(np.asfortranarray(logits), T=0.5), p, rtol=1e-14)
    single = contract.probabilities(logits.astype(np.float32), T=0.5)
    assert single.dtype == np.float32


def test_a_logit_that_is_left_out_has_no_chance():
    logits = np.array([[0.3, -np.inf, 0.1], [-np.inf, 0.2, -np.inf]])
    np.testing.assert_allclose(contract.probabilities(logits, T=0.1), softmax(logits / 0.1, axis=1))
    np.testing.assert_allclose(contract.largest_probability(logits, T=0.1), softmax(logits / 0.1, axis=1).max(axis=1))


def test_means_of_chances_that_underflow():
    logits = np.random.default_rng(2).normal(size=(60, 12)) * 30
    groups = np.arange(60) % 7
    chances = log_softmax(logits / 0.01, axis=1)
    for group, found in enumerate(log_means(logits, groups, T=0.01)):
        expected = logsumexp(chances[groups == group], axis=0) - np.log((groups == group).sum())
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("samples", [12, 200])
@pytest.mark.parametrize("bias", [0.0, 0.1])
def test_what_lies_outside_is_the_same_by_either_basis(samples, bias):
    """Enough samples give a basis of the complement; few do not, and what lies inside is subtracted."""
    rng = np.random.default_rng(3)
    features, shots = normalise(rng.normal(size=(50, 32))), normalise(rng.normal(size=(samples, 32)))
    head = Head(rng.normal(size=(6, 32)), np.full(6, bias))
    origin = -np.linalg.pinv(head.weights) @ head.bias
    values = shots - origin
    axes = np.linalg.eigh(values.T @ values)[1][:, -8:]
    expected = np.linalg.norm((features - origin) - (features - origin) @ axes @ axes.T, axis=1)
    bank = Bank(shots, np.zeros(samples, int), samples, head=head)
    np.testing.assert_allclose(residual_norms(features, bank, head, dim=8), expected, rtol=1e-10)
