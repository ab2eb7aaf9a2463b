"""Scores with negative prompts against their formulas in plain Python, and what is left without negatives."""

from __future__ import annotations

import math

import numpy as np
import pytest

from oodgrid import registry

RNG = np.random.default_rng(4)
LOGITS, NEGATIVES = RNG.uniform(-1, 1, size=(20, 5)), RNG.uniform(-1, 1, size=(20, 5, 3))


def score(name, *inputs, **params):
    return registry.find("score", name).make(*inputs, **params)


def softmax(values, T):
    shares = [math.exp(value / T) for value in values]
    return [share / math.fsum(shares) for share in shares]


@pytest.mark.parametrize(("T", "T_negative"), [(1.0, 5.0), (0.1, 0.5)])
def test_lsn_against_the_formula(T, T_negative):
    expected = []
    for row, negatives in zip(LOGITS.tolist(), NEGATIVES.tolist(), strict=True):
        unlike = [max(softmax([1 - negatives[k][j] for k in range(5)], T_negative)) for j in range(3)]
        expected.append(max(softmax(row, T)) + math.fsum(unlike) / 3)
    got = score("lsn", LOGITS, NEGATIVES, T=T, T_negative=T_negative)
    np.testing.assert_allclose(got, expected, rtol=1e-12)


@pytest.mark.parametrize("T", [1.0, 0.05])
def test_neg_prompt_against_the_formula(T):
    expected = []
    for row, negatives in zip(LOGITS.tolist(), NEGATIVES.tolist(), strict=True):
        flat = [value for k in range(5) for value in (row[k], *negatives[k])]
        expected.append(max(softmax(flat, T)[::4]))
    np.testing.assert_allclose(score("neg_prompt", LOGITS, NEGATIVES, T=T), expected, rtol=1e-12)


def test_without_negatives_neg_prompt_is_mcm():
    got = score("neg_prompt", LOGITS, NEGATIVES[:, :, :0], T=0.3)
    np.testing.assert_allclose(got, score("mcm", LOGITS, T=0.3), rtol=1e-12)


def test_negatives_that_are_all_alike_add_a_constant_to_mcm():
    flat = np.full((20, 5, 2), 0.3)
    np.testing.assert_allclose(score("lsn", LOGITS, flat), score("mcm", LOGITS) + 1 / 5, rtol=1e-12)


@pytest.mark.parametrize("name", ["lsn", "neg_prompt"])
def test_samples_alone_are_samples_together_and_classes_may_change_places(name):
    whole = score(name, LOGITS, NEGATIVES)
    alone = [score(name, LOGITS[i : i + 1], NEGATIVES[i : i + 1])[0] for i in range(20)]
    np.testing.assert_allclose(whole, alone, rtol=1e-12)
    order = RNG.permutation(5)
    np.testing.assert_allclose(score(name, LOGITS[:, order], NEGATIVES[:, order]), whole, rtol=1e-12)
