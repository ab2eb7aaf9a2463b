"""Scores with negative prompts against their formulas in plain Python, and what is left without negatives."""

from __future__ import annotations

import math

import numpy as np
import pytest

from oodgrid import registry
from oodgrid.config import Choice
from oodgrid.score.compute import compute
from oodgrid.score.contract import Head, normalise
from oodgrid.score.references import References
from oodgrid.score.texts import Texts

RNG = np.random.default_rng(4)
LOGITS, NEGATIVES = RNG.uniform(-1, 1, size=(20, 5)), RNG.uniform(-1, 1, size=(20, 5, 3))
LOCAL, LOCAL_NEGATIVES = RNG.uniform(-1, 1, size=(20, 4, 5)), RNG.uniform(-1, 1, size=(20, 4, 5, 3))
ALL = (LOGITS, NEGATIVES, LOCAL, LOCAL_NEGATIVES)


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


@pytest.mark.parametrize(("weight", "T"), [(1.0, 1.0), (0.5, 0.05)])
def test_fa_and_gl_fa_against_the_formula(weight, T):
    def largest(row, negatives):
        return max(softmax([*row, *(each for of_class in negatives for each in of_class)], T))

    whole = [largest(*pair) for pair in zip(LOGITS.tolist(), NEGATIVES.tolist(), strict=True)]
    np.testing.assert_allclose(score("fa", LOGITS, NEGATIVES, T=T), whole, rtol=1e-12)
    patches = [
        max(largest(*pair) for pair in zip(row, negatives, strict=True))
        for row, negatives in zip(LOCAL.tolist(), LOCAL_NEGATIVES.tolist(), strict=True)
    ]
    got = score("gl_fa", LOGITS, NEGATIVES, LOCAL, LOCAL_NEGATIVES, weight=weight, T=T)
    np.testing.assert_allclose(got, np.array(whole) + weight * np.array(patches), rtol=1e-12)
    np.testing.assert_array_equal(score("gl_fa", *ALL, weight=0.0), score("fa", LOGITS, NEGATIVES))


def test_without_negatives_neg_prompt_and_fa_are_mcm():
    none, none_local = NEGATIVES[:, :, :0], LOCAL_NEGATIVES[..., :0]
    for name in ("neg_prompt", "fa"):
        np.testing.assert_allclose(score(name, LOGITS, none, T=0.3), score("mcm", LOGITS, T=0.3), rtol=1e-12)
    got = score("gl_fa", LOGITS, none, LOCAL, none_local, weight=0.5)
    np.testing.assert_allclose(got, score("gl_mcm", LOGITS, LOCAL, weight=0.5), rtol=1e-12)


def test_frozen_copies_of_the_prompts_themselves_divide_mcm():
    copies = np.repeat(LOGITS[:, :, None], 3, axis=2)
    np.testing.assert_allclose(score("fa", LOGITS, copies), score("mcm", LOGITS) / 4, rtol=1e-12)


@pytest.mark.parametrize("copied", [True, False])
@pytest.mark.parametrize("count", [0, 3])
def test_the_stage_gives_patches_their_negative_logits(copied, count):
    unit = normalise(RNG.normal(size=(5, count, 8)).reshape(-1, 8)).reshape(5, count, 8)
    negatives = np.repeat(unit[:, :1], count, axis=1) if copied else unit
    head, patches = Head(normalise(RNG.normal(size=(5, 8))), np.zeros(5)), RNG.normal(size=(20, 4, 8))
    references = References(head, negatives, {}, Texts({}, {}, []), True)
    needs = registry.find("score", "gl_fa").needs
    [(inputs, rows)] = references.local_blocks("pets", patches[:, 0], [(0, patches)], head, needs)
    block = inputs()
    expected = np.einsum("npd,kjd->npkj", normalise(patches), negatives)
    np.testing.assert_allclose(block["local_negative_logits"][:rows], expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(block["negative_logits"][:rows], expected[:, 0], rtol=0, atol=1e-12)
    got, alone = compute(Choice(name="gl_fa"), block)[:rows], [block[need][:rows] for need in needs[:3]]
    np.testing.assert_allclose(got, score("gl_fa", *alone, expected), rtol=1e-12)


def test_negatives_that_are_all_alike_add_a_constant_to_mcm():
    flat = np.full((20, 5, 2), 0.3)
    np.testing.assert_allclose(score("lsn", LOGITS, flat), score("mcm", LOGITS) + 1 / 5, rtol=1e-12)


@pytest.mark.parametrize("name", ["lsn", "neg_prompt", "fa"])
def test_samples_alone_are_samples_together_and_classes_may_change_places(name):
    whole = score(name, LOGITS, NEGATIVES)
    alone = [score(name, LOGITS[i : i + 1], NEGATIVES[i : i + 1])[0] for i in range(20)]
    np.testing.assert_allclose(whole, alone, rtol=1e-12)
    order = RNG.permutation(5)
    np.testing.assert_allclose(score(name, LOGITS[:, order], NEGATIVES[:, order]), whole, rtol=1e-12)
